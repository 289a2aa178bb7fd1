"""The date-times of a pickled numpy object array, read without executing the pickle.

A pickle is a program for a small stack machine; what makes it dangerous are the functions it may name and call. Here it
runs on a machine that has none: the four names that such an array needs are understood, anything else is refused, and
nothing is imported or called (opcodes: CPython's pickletools; a datetime's 10 bytes: CPython's datetime.__reduce__).
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MOST_BYTES = 1 << 22  # of a pickle: 5 s of work; 3,168 times are about 100 kB
_ARRAYS = {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}
_OTHERS = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"), ("datetime", "datetime")}
_CONSTANTS = {"NONE": None, "NEWFALSE": False, "NEWTRUE": True}
_VALUES = {"BININT", "BININT1", "BININT2", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES", "BINBYTES"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NO_OPERATION = {"PROTO", "FRAME"}


class _Mark:
    pass


@dataclass
class _Name:
    """A function or class that the pickle names."""

    pair: tuple[str, str]


@dataclass
class _Array:
    """What an array would be made of. state: (version, shape, dtype, order, list of objects)."""

    state: Any = None


class _Machine:
    """Runs the opcodes that pickled arrays of date-times consist of. Raises ValueError at any other."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memory: dict[int, Any] = {}

    def step(self, code: str, argument: Any) -> None:
        stack = self.stack
        if code in _NO_OPERATION:
            return
        if code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _VALUES:
            stack.append(argument)
        elif code in _TUPLES:
            stack.append(tuple(reversed([stack.pop() for _ in range(_TUPLES[code])])))
        elif code in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memory[len(self._memory) if argument is None else argument] = stack[-1]
        elif code in ("BINGET", "LONG_BINGET"):
            stack.append(self._memory[argument])
        else:
            self._build(code, argument)

    def _build(self, code: str, argument: Any) -> None:
        stack = self.stack
        match code:
            case "MARK":
                stack.append(_Mark())
            case "EMPTY_LIST":
                stack.append([])
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "APPENDS":
                items = self._since_mark()
                stack[-1] += items
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "GLOBAL":
                stack.append(_name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_name(module, name))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_result(function.pair, arguments))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], _Array):
                    stack[-1].state = state
            case "STOP":
                pass
            case _:
                raise ValueError(f"opcode {code}")

    def _since_mark(self) -> list[Any]:
        items = []
        while not isinstance(item := self.stack.pop(), _Mark):
            items.append(item)
        return items[::-1]


def _name(module: Any, name: Any) -> _Name:
    module, name = _text(module), _text(name)
    if (module, name) not in _ARRAYS | _OTHERS:
        raise ValueError(f"the name {module[:80]}.{name[:80]}")
    return _Name((module, name))


def _text(value: Any) -> str:
    """A few opcodes make a tuple of tuples with 2**1000 parts: nothing but a text is hashed, shown or made a text."""
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} in the place of a text")
    return value


def _result(function: tuple[str, str], arguments: Any) -> Any:
    """What stands for a call's result."""
    if function in _ARRAYS:
        return _Array()
    if function == ("_codecs", "encode"):  # how bytes are written in pickles of version 2
        text, encoding = arguments
        return _text(text).encode({"latin1": "latin1"}[_text(encoding)])
    if function == ("datetime", "datetime"):
        return _time(*arguments)
    return _Name(function)


def _time(packed: Any) -> datetime:
    if not isinstance(packed, bytes) or len(packed) != 10:
        raise ValueError("a time that is not of 10 bytes")
    high, low, month, day, hour, minute, second, *micro = packed
    return datetime(
        high << 8 | low, month & 0x7F, day, hour, minute, second, int.from_bytes(bytes(micro), "big"), tzinfo=UTC
    )


def pickled_times(content: bytes) -> list[datetime]:
    """The date-times (taken as UTC) of a pickled one-dimensional numpy array of naive `datetime.datetime`.

    Raises ValueError on anything else, naming what is not expected there.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(content):
            machine.step(opcode.name, argument)
        [array] = machine.stack
        times = array.state[4]
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not isinstance(times, list) or not all(isinstance(time, datetime) for time in times):
        raise ValueError("objects that are no date-times")
    return times
