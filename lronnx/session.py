"""The only module that runs onnxruntime: original models, single nodes, and linearized programs."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnxruntime as ort
import psutil

from lronnx import onnx_io
from lronnx.errors import InputError, LronnxError, ModelError
from lronnx.graph import Array, Graph, Node, Value
from lronnx.ops.emitter import LANES, SIMPLEST

RUNTIME_VERSION: str = ort.__version__
# onnxruntime's own log level "fatal": what fails is raised and reported by lronnx itself.
_QUIET = 4

# Of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

# What the CUDA driver's library may be called.
_DRIVERS = ["nvcuda.dll"] if sys.platform == "win32" else ["libcuda.so.1", "libcuda.so"]

_ELEMENTS = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
}


# onnxruntime merges a Pad with zeros into the pooling behind it and then forgets the zeros: wrong where all others are
# negative. It must not happen to a program; the original, with which the self-check compares, is not optimized at all.
_UNSOUND = ["Pad_Fusion"]


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    return options


def _first_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text


def gpu_present() -> bool:
    """Whether the CUDA driver is installed and sees a GPU; onnxruntime-gpu lists CUDA even where there is none."""
    for name in _DRIVERS:
        try:
            driver = ctypes.CDLL(name)
            count = ctypes.c_int(0)
            return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
        except (OSError, AttributeError):
            continue
    return False


def choose_device(wanted: str) -> str:
    """``cpu`` or ``cuda`` for ``auto``, ``cpu`` or ``cuda``.

    ``auto`` silently takes the CPU unless CUDA really works. Raises InputError if ``cuda`` is asked for and does not.
    """
    if wanted == "cpu":
        return "cpu"
    if wanted not in ("auto", "cuda"):
        raise InputError(f"unknown device '{wanted}': use auto, cpu or cuda")
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        problem = "this onnxruntime has no CUDA provider; install onnxruntime-gpu"
    elif not gpu_present():
        problem = "no CUDA driver or no GPU was found"
    else:
        problem = _try_cuda()
    if not problem:
        return "cuda"
    if wanted == "cuda":
        raise InputError(f"--device cuda does not work here: {problem}")
    return "cpu"


def _try_cuda() -> str:
    """Run one node on CUDA. Returns what went wrong, '' if nothing did."""
    ort.set_default_logger_severity(_QUIET)
    try:
        if hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
        value = Value("x", "float64", (1,))
        node = Node(0, "", "probe", "", SIMPLEST, ("x",), ("y",))
        graph = Graph("probe", ("x",), ("y",), (node,), {}, {"x": value, "y": Value("y", "float64", (1,))}, _opsets())
        providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        session = ort.InferenceSession(onnx_io.to_bytes(graph), _options(), providers=providers)
        if "CUDAExecutionProvider" not in session.get_providers():
            return "onnxruntime could not load its CUDA libraries; install lronnx[cuda]"
        session.run(None, {"x": np.zeros(1)})
    except Exception as error:
        return _first_line(error)
    finally:
        ort.set_default_logger_severity(2)
    return ""


def _opsets() -> dict[str, int]:
    return {"ai.onnx": onnx_io.PROGRAM_OPSET}


@dataclass(frozen=True)
class Trial:
    """What one run of the original model showed: shapes and types of its tensors, and the content of some."""

    values: dict[str, Value]
    contents: dict[str, Array]


def observe(
    model: bytes, feeds: Mapping[str, Array], tensors: Sequence[str], keep: set[str], where: str, prune: bool = False
) -> Trial:
    """Run a model once with every one of ``tensors`` exposed; keep the content of those in ``keep``.

    ``prune``: run only what they need. Raises ModelError if onnxruntime cannot load or run it.
    """
    options = _options()
    # Fused nodes would hide tensors; and the constants are wanted as the file computes them.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(
            onnx_io.expose(model, tensors, prune=prune), options, providers=["CPUExecutionProvider"]
        )
        results = session.run(list(tensors), dict(feeds))
    except LronnxError:
        raise
    except Exception as error:
        raise ModelError(f"{where}: onnxruntime cannot run this model: {_first_line(error)}") from None
    values: dict[str, Value] = {}
    contents: dict[str, Array] = {}
    for name, result in zip(tensors, results, strict=True):
        if not isinstance(result, np.ndarray):
            continue
        values[name] = Value(name, result.dtype.name, result.shape)
        if name in keep:
            contents[name] = result
    return Trial(values, contents)


def probe(node: Node, arrays: Sequence[Array | None], opset: int) -> list[Array]:
    """Run one node on arrays (None: an operand that is left out). Raises ModelError if that fails."""
    inputs = tuple("" if array is None else f"in{i}" for i, array in enumerate(arrays))
    outputs = tuple(f"out{i}" for i in range(len(node.outputs)))
    copy = Node(0, "", "probe", node.domain, node.op_type, inputs, outputs, node.attributes)
    values = {f"in{i}": Value(f"in{i}", a.dtype.name, a.shape) for i, a in enumerate(arrays) if a is not None}
    floating = next((a.dtype.name for a in arrays if a is not None and a.dtype.kind == "f"), "float64")
    values |= {name: Value(name, floating, None) for name in outputs}
    names = tuple(name for name in inputs if name)
    graph = Graph("probe", names, outputs, (copy,), {}, values, {"ai.onnx": opset})
    feeds = {f"in{i}": a for i, a in enumerate(arrays) if a is not None}
    try:
        session = ort.InferenceSession(onnx_io.to_bytes(graph), _options(), providers=["CPUExecutionProvider"])
        return [np.asarray(result) for result in session.run(None, feeds)]
    except Exception as error:
        raise ModelError(f"node {node.label} [{node.op_type}] cannot be run by itself: {_first_line(error)}") from None


class Original:
    """The model as it was exported, for comparison: one sample at a time. ``threads``: 0 for the runtime's choice."""

    def __init__(self, model: bytes, output: str, where: str, threads: int = 0) -> None:
        options = _options()
        options.intra_op_num_threads = threads
        # It quantizes products with weights that are stored as integers, and fails on some models of float64.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = ort.InferenceSession(
                onnx_io.expose(model, [output]), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(f"{where}: onnxruntime cannot run this model: {_first_line(error)}") from None
        self._types = {i.name: _ELEMENTS.get(i.type, "") for i in self._session.get_inputs()}

    def __call__(self, feeds: Mapping[str, Array]) -> Array:
        """The output for one sample, flat float64. Raises ModelError if onnxruntime fails."""
        typed = {k: v.astype(self._types[k]) if self._types.get(k) else v for k, v in feeds.items() if k in self._types}
        try:
            return np.asarray(self._session.run(None, typed)[0], dtype=np.float64).ravel()
        except Exception as error:
            raise ModelError(f"onnxruntime cannot run the original model: {_first_line(error)}") from None


class Session:
    """A linearized program ready to run.

    On the CPU the lanes are dealt out to ``threads``, each running the whole program on its share: the
    runtime's own threads share out matrix products but not the copies between them, which take as long. The
    arrays that a call returns are overwritten by the call after the next.
    """

    def __init__(self, program: Graph, device: str, threads: int) -> None:
        self._program = program
        self._device = device
        self._workers = threads if device == "cpu" else 1
        self._by_threads: dict[int, ort.InferenceSession] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._buffers: tuple[dict[str, Array], dict[str, Array]] = {}, {}
        self._model = onnx_io.to_bytes(program)
        self.outputs = program.outputs
        fixed = (program.values[name].shape for name in program.outputs)
        self._bindable = device == "cpu" and all(shape is not None and shape[0] == LANES for shape in fixed)

    def _session(self, threads: int) -> ort.InferenceSession:
        """The runtime's session with this many threads (0: its own choice), made when it is first needed."""
        if threads not in self._by_threads:
            options = _options()
            options.intra_op_num_threads = threads
            try:
                self._by_threads[threads] = ort.InferenceSession(
                    self._model, options, providers=_providers(self._device), disabled_optimizers=_UNSOUND
                )
            except Exception as error:
                raise ModelError(f"onnxruntime cannot load the linearized program: {_first_line(error)}") from None
        return self._by_threads[threads]

    def __call__(self, feeds: Mapping[str, Array]) -> list[Array]:
        """All outputs of the program. Raises ModelError if onnxruntime fails (out of memory, for example)."""
        lanes = len(next(iter(feeds.values())))
        try:
            if not self._bindable:
                return list(self._session(1 if self._workers == 1 else 0).run(None, dict(feeds)))
            outputs = self._outputs(lanes)
            workers = min(self._workers, lanes)
            if workers < self._workers or workers == 1:
                # Making another session takes longer than the few lanes that are left at the end of a walk.
                alone = self._workers == 1 or 1 in self._by_threads
                self._bound(self._session(1 if alone else 0), feeds, outputs, 0, lanes)
                return outputs
            session = self._session(1)
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._workers - 1, "lronnx")
            cuts = [lanes * i // workers for i in range(workers + 1)]
            jobs = [
                self._pool.submit(self._bound, session, feeds, outputs, begin, end)
                for begin, end in itertools.pairwise(cuts[1:])
            ]
            try:
                # The first share is this thread's own: waking up another one takes as long as a few lanes.
                self._bound(session, feeds, outputs, 0, cuts[1])
            finally:
                wait(jobs)
            for job in jobs:
                job.result()
            return outputs
        except KeyboardInterrupt:
            raise
        except Exception as error:
            raise ModelError(f"onnxruntime failed in the linearized program: {_first_line(error)}") from None

    def _outputs(self, lanes: int) -> list[Array]:
        """Arrays for the results, kept from call to call: fresh memory costs a page fault per 4 KB."""
        found: list[Array] = []
        self._buffers = self._buffers[::-1]
        buffers = self._buffers[0]
        for name in self.outputs:
            value = self._program.values[name]
            assert value.shape is not None
            kept = buffers.get(name)
            if kept is None or len(kept) < lanes:
                kept = np.empty((lanes, *(int(d) for d in value.shape[1:])), value.dtype)
                buffers[name] = kept
            found.append(kept[:lanes])
        return found

    def _bound(
        self, session: ort.InferenceSession, feeds: Mapping[str, Array], outputs: Sequence[Array], begin: int, end: int
    ) -> None:
        """Run the lanes from ``begin`` to ``end``, reading and writing the callers' arrays in place."""
        binding = session.io_binding()
        held = {name: np.ascontiguousarray(array[begin:end]) for name, array in feeds.items()}
        for name, array in held.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name, array in zip(self.outputs, outputs, strict=True):
            part = array[begin:end]
            binding.bind_output(name, "cpu", 0, part.dtype.type, part.shape, part.ctypes.data)
        session.run_with_iobinding(binding)


@cache
def _share_memory() -> None:
    """Have programs that run one after another take their scratch memory from one place, not each from its own."""
    kind = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    # No limit, grow by what is needed (1: not by powers of two), the runtime's own sizes otherwise.
    ort.create_and_register_allocator(kind, ort.OrtArenaCfg(0, 1, -1, -1))


class Bound:
    """A program that reads and writes arrays in place, on one core of the CPU; several threads may run it at once."""

    def __init__(self, program: Graph) -> None:
        _share_memory()
        options = _options()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = ort.InferenceSession(
                onnx_io.to_bytes(program), options, providers=["CPUExecutionProvider"], disabled_optimizers=_UNSOUND
            )
        except Exception as error:
            raise ModelError(f"onnxruntime cannot load the linearized program: {_first_line(error)}") from None

    def __call__(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Run it on contiguous arrays. Raises ModelError if onnxruntime fails (out of memory, for example)."""
        try:
            binding = self._session.io_binding()
            for name, array in inputs.items():
                binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            for name, array in outputs.items():
                binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise ModelError(f"onnxruntime failed in the linearized program: {_first_line(error)}") from None


class Resident:
    """A program whose tensors stay on the device, whichever that is, from one call to the next."""

    def __init__(self, program: Graph, device: str) -> None:
        self._device = device
        self._outputs = program.outputs
        try:
            self._session = ort.InferenceSession(
                onnx_io.to_bytes(program), _options(), providers=_providers(device), disabled_optimizers=_UNSOUND
            )
        except Exception as error:
            raise ModelError(f"onnxruntime cannot load the linearized program: {_first_line(error)}") from None

    def __call__(self, inputs: Mapping[str, Held | Array], fetch: bool = False) -> dict[str, Held]:
        """All outputs, left on the device, or brought back with ``fetch``. Inputs may be held there or be arrays.

        Raises ModelError if onnxruntime fails (out of memory, for example).
        """
        try:
            binding = self._session.io_binding()
            for name, value in inputs.items():
                if isinstance(value, Held):
                    binding.bind_ortvalue_input(name, value.value)
                else:
                    binding.bind_cpu_input(name, np.ascontiguousarray(value))
            for name in self._outputs:
                binding.bind_output(name, "cpu" if fetch else self._device)
            self._session.run_with_iobinding(binding)
            return dict(zip(self._outputs, map(Held, binding.get_outputs()), strict=True))
        except Exception as error:
            raise ModelError(f"onnxruntime failed in the linearized program: {_first_line(error)}") from None


@dataclass(frozen=True)
class Held:
    """A tensor on a device."""

    value: ort.OrtValue

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape())

    def array(self) -> Array:
        """Its content, brought back if it is not in memory."""
        return np.asarray(self.value.numpy())


def _providers(device: str) -> list[object]:
    if device != "cuda":
        return ["CPUExecutionProvider"]
    # TF32 keeps 10 bits of the mantissa: useless for finding breakpoints.
    return [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]


def free_device_memory() -> int:
    """Bytes that are free on the first GPU; 0 if its driver does not tell."""
    for name in _DRIVERS:
        try:
            driver = ctypes.CDLL(name)
            device, context = ctypes.c_int(0), ctypes.c_void_p()
            free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
            if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
                return 0
            if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
                return 0
            try:
                if driver.cuCtxPushCurrent_v2(context):
                    return 0
                failed = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
                driver.cuCtxPopCurrent_v2(ctypes.byref(context))
                return 0 if failed else int(free.value)
            finally:
                driver.cuDevicePrimaryCtxRelease_v2(device)
        except (OSError, AttributeError):
            continue
    return 0


def keep_freed_memory() -> None:
    """Have this process keep the memory that it frees, for itself; for processes that do nothing but walk.

    The arrays of a sweep come and go by the hundred. glibc gives large ones back to the system at once, and each of
    their pages then costs a fault when the next is made: a tenth of the time, and with the settings that dask gives its
    workers (MALLOC_TRIM_THRESHOLD_) half of it. Other allocators are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            # Some versions refuse more than 32 MB.
            if not library.mallopt(option, 1 << 30):
                library.mallopt(option, 32 << 20)


def free_memory() -> int:
    """Bytes of memory that are free."""
    return int(psutil.virtual_memory().available)


def seconds_of(program: Graph, shape: Sequence[int], made: Sequence[int], budget: float) -> float:
    """How long a program of doubles from ``x`` of one shape to ``y`` of another takes on one core, at best.

    It is run for ``budget`` seconds or twice. Raises ModelError if onnxruntime fails.
    """
    options = _options()
    options.intra_op_num_threads = 1
    try:
        session = ort.InferenceSession(onnx_io.to_bytes(program), options, providers=["CPUExecutionProvider"])
        # In place, as a walk has it: fresh memory costs a page fault per 4 KB.
        x, y, binding = np.ones(shape), np.zeros(made), session.io_binding()
        binding.bind_input("x", "cpu", 0, np.float64, x.shape, x.ctypes.data)
        binding.bind_output("y", "cpu", 0, np.float64, y.shape, y.ctypes.data)
        session.run_with_iobinding(binding)
        best, runs, end = float("inf"), 0, time.perf_counter() + budget
        while runs < 2 or time.perf_counter() < end:
            begin = time.perf_counter()
            session.run_with_iobinding(binding)
            best, runs = min(best, time.perf_counter() - begin), runs + 1
    except Exception as error:
        raise ModelError(f"onnxruntime failed in a trial of its speed: {_first_line(error)}") from None
    return best


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
