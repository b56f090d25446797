"""Reading pickles of nothing but data: dicts, lists, tuples, strings, bytes, whole numbers, numpy arrays of them.

A pickle is a program, and running one with the :mod:`pickle` module can run any other. So this module runs it itself,
on the opcodes that :mod:`pickletools` parses, and never looks a name up: the five names by which numpy pickles arrays
mean stand-ins here, which do nothing but keep their arguments; every other name and every other opcode is refused.
Keys of dicts are strings or bytes, as hashing nested tuples can take forever, and memory is proportional to the file,
whereas the C implementation of :class:`pickle.Unpickler` believes memo indices of any size.
"""

from __future__ import annotations

import math
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from io import BytesIO
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lronnx.errors import InputError


class _Global(Enum):
    """What a pickle may name."""

    RECONSTRUCT = "_reconstruct"
    FROM_BUFFER = "_frombuffer"
    NDARRAY = "ndarray"
    DTYPE = "dtype"
    ENCODE = "encode"


# numpy 2 renamed numpy.core to numpy._core.
_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"): _Global.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Global.RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _Global.FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _Global.FROM_BUFFER,
    ("numpy", "ndarray"): _Global.NDARRAY,
    ("numpy", "dtype"): _Global.DTYPE,
    # How Python 3 writes bytes in protocols up to 2: as a string of their code points.
    ("_codecs", "encode"): _Global.ENCODE,
}

_MOST_AXES = 32
_TYPES = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)}


@dataclass(slots=True)
class _Type:
    """A dtype: its code without byte order, and its byte order once that is known."""

    code: str
    order: str = ""

    def build(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


@dataclass(slots=True)
class _Stored:
    """An array, once it is known."""

    array: NDArray[Any] | None = field(default=None)

    def fill(self, raw: object, kind: object, shape: object, order: str) -> None:
        if not (
            self.array is None
            and isinstance(raw, (bytes, bytearray))
            and isinstance(kind, _Type)
            and isinstance(shape, tuple)
            and len(shape) <= _MOST_AXES
            and all(isinstance(size, int) and 0 <= size <= len(raw) for size in shape)
        ):
            raise ValueError("an array is not described as numpy describes it")
        dtype = kind.build()
        if math.prod(shape) * dtype.itemsize != len(raw):
            raise ValueError(f"an array of shape {shape} and type {dtype} has {len(raw)} bytes")
        self.array = np.frombuffer(raw, dtype).reshape(shape, order="F" if order == "F" else "C")


def load_data(content: bytes, what: str) -> Any:
    """What a pickle of protocol 0 to 5 holds. The strings of Python 2 are returned as bytes.

    Arrays are of whole numbers and read-only where the pickle's own are bytes. Raises InputError if the pickle is
    damaged, and if it holds anything else, which it names.
    """
    try:
        return _Machine(what).run(content)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{what} claims to hold more than fits in memory") from None
    except (
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        OverflowError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        raise InputError(f"{what} cannot be read as a pickle of arrays, it may be damaged: {error}") from None


class _Machine:
    """The stack machine that the documentation of :mod:`pickletools` describes, as far as data need it."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(BytesIO(content)):
            act = _ACTIONS.get(opcode.name)
            if act is None:
                if opcode.name == "INST":
                    self.lookup(*str(argument).split(" ", 1))
                self.refuse(f"the pickle instruction {opcode.name}")
            act(self, argument)
        if len(self.stack) != 1 or self.marks:
            raise ValueError("it ends in the middle of a list")
        return _plain(self.stack[0])

    def refuse(self, held: str) -> NoReturn:
        raise InputError(
            f"{self.what} holds {held}, and lronnx reads only arrays, lists, dicts, strings and whole numbers from a "
            "pickle, since loading others can run any program: if you trust the file, save its arrays with numpy.savez"
        )

    def lookup(self, module: object, name: object) -> _Global:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a name is no string")
        if (module, name) not in _GLOBALS:
            self.refuse(f"the name {module}.{name}")
        return _GLOBALS[module, name]

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_tuple(self, size: int) -> None:
        if len(self.stack) < size:
            raise ValueError("a tuple lacks elements")
        split = len(self.stack) - size
        self.stack[split:] = [tuple(self.stack[split:])]

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError("elements are added to what is no list")
        target.extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("entries are added to what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, (bytes, str)):
                raise ValueError("a key is neither a string nor bytes")
            target[key] = value

    def new_dict(self, items: list[Any]) -> None:
        self.stack.append({})
        self.update(items)

    def call(self) -> None:
        arguments = self.stack.pop()
        match self.stack.pop(), arguments:
            case _Global.RECONSTRUCT, (_Global.NDARRAY, (0,), b"b" | "b"):
                made: object = _Stored()
            case _Global.FROM_BUFFER, (raw, kind, shape, "C" | "F" as order):
                made = _Stored()
                made.fill(raw, kind, shape, order)
            case _Global.DTYPE, ((bytes() | str()) as code, *_):
                made = self.type(_text(code))
            case _Global.ENCODE, (str() as text, "latin1" | "latin-1"):
                made = text.encode("latin-1")
            case _Global() as called, _:
                raise ValueError(f"{called.value} is called in a way that numpy does not")
            case _:
                raise ValueError("it calls what is no function")
        self.stack.append(made)

    def type(self, code: str) -> _Type:
        order = code[0] if code[:1] in set("<>|=") else ""
        bare = code.removeprefix(order)
        if bare not in _TYPES:
            self.refuse(f"an array of type {code!r}")
        return _Type(bare, order)

    def build(self) -> None:
        state = self.stack.pop()
        match self.stack[-1], state:
            case _Stored() as stored, (1, shape, kind, bool() as fortran, raw):
                stored.fill(raw, kind, shape, "F" if fortran else "C")
            case _Type(order="") as kind, (int(), (bytes() | str()) as order, None, None, None, *_):
                if _text(order) not in set("<>|="):
                    raise ValueError("a type has no byte order")
                kind.order = _text(order)
            case _:
                raise ValueError("it changes the state of what has none")


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("ascii")


def _plain(value: Any) -> Any:
    """``value``, a dict or a list of which may hold arrays, with the arrays themselves."""
    if isinstance(value, _Stored):
        if value.array is None:
            raise ValueError("an array is announced and does not come")
        return value.array
    if isinstance(value, (_Global, _Type)):
        raise ValueError("it holds a type where data belong")
    if isinstance(value, dict):
        return {
            key: _plain(item) if isinstance(item, (_Stored, _Global, _Type)) else item for key, item in value.items()
        }
    return value


_Action = Callable[[_Machine, Any], object]


def _push(machine: _Machine, argument: Any) -> None:
    machine.stack.append(argument)


def _put(machine: _Machine, argument: Any) -> None:
    machine.memo[argument] = machine.stack[-1]


_ACTIONS: dict[str, _Action] = {
    "PROTO": lambda machine, argument: None,
    "FRAME": lambda machine, argument: None,
    "STOP": lambda machine, argument: None,
    "NONE": lambda machine, argument: machine.stack.append(None),
    "NEWTRUE": lambda machine, argument: machine.stack.append(True),
    "NEWFALSE": lambda machine, argument: machine.stack.append(False),
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), _push),
    **dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _push),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _push),
    # The strings of Python 2, which pickletools decodes.
    **dict.fromkeys(
        ("STRING", "BINSTRING", "SHORT_BINSTRING"),
        lambda machine, argument: machine.stack.append(argument.encode("latin-1")),
    ),
    "MARK": lambda machine, argument: machine.mark(),
    "EMPTY_TUPLE": lambda machine, argument: machine.stack.append(()),
    "TUPLE1": lambda machine, argument: machine.pop_tuple(1),
    "TUPLE2": lambda machine, argument: machine.pop_tuple(2),
    "TUPLE3": lambda machine, argument: machine.pop_tuple(3),
    "TUPLE": lambda machine, argument: _push(machine, tuple(machine.pop_mark())),
    "EMPTY_LIST": lambda machine, argument: machine.stack.append([]),
    "LIST": lambda machine, argument: _push(machine, machine.pop_mark()),
    "APPEND": lambda machine, argument: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, argument: machine.extend(machine.pop_mark()),
    "EMPTY_DICT": lambda machine, argument: machine.stack.append({}),
    "DICT": lambda machine, argument: machine.new_dict(machine.pop_mark()),
    "SETITEM": lambda machine, argument: machine.update([machine.stack.pop(), machine.stack.pop()][::-1]),
    "SETITEMS": lambda machine, argument: machine.update(machine.pop_mark()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    "MEMOIZE": lambda machine, argument: _put(machine, len(machine.memo)),
    **dict.fromkeys(
        ("GET", "BINGET", "LONG_BINGET"), lambda machine, argument: machine.stack.append(machine.memo[argument])
    ),
    "GLOBAL": lambda machine, argument: _push(machine, machine.lookup(*argument.split(" ", 1))),
    "STACK_GLOBAL": lambda machine, argument: _push(
        machine, machine.lookup(*[machine.stack.pop(), machine.stack.pop()][::-1])
    ),
    "REDUCE": lambda machine, argument: machine.call(),
    "BUILD": lambda machine, argument: machine.build(),
}
