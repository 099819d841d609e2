"""What a mode of scripts/bench has found: figures, what is judged by a bar, and the JSON file of both."""

import json
import math

FORMAT = 1
# Figures of a rate are shown in thousands from here on.
THOUSANDS_FROM = 10_000


def shown(value, unit):
    """A figure with its unit, for a reader."""
    if value is None:
        return "-"
    if unit == "/s":
        return "%.0fk/s" % (value / 1e3) if value >= THOUSANDS_FROM else "%.0f/s" % value
    if unit == "x":
        return "%.2fx" % value
    if isinstance(value, int) and not unit:
        return str(value)
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return ("%.*f %s" % (digits, value, unit)).strip()


class Results:
    """Rows and figures of one run of one mode.

    A row is what a table has: {what, unit, ours, beside, who, ratio, bar, met}. `beside` is the figure of `who`, most often
    Redis, in the same run; `narrow` the words that make the command measure this row and less else; `bar` is text, and it and `met` are None where there is nothing to judge.
    """

    def __init__(self, mode, command, about, is_judged):
        self.mode, self.command, self.about = mode, command, about
        self.is_judged = is_judged
        self.rows, self.figures, self.is_wrong = [], {}, False
        # Of the rows to come.
        self.narrow = []

    def ratio(self, what, unit, ours, beside, at_least=None, at_most=None, below=None, who="Redis"):
        """`ours` to `beside`, in one run: the bar is on the ratio."""
        ratio = ours / beside if beside else math.nan
        self._add(what, unit, ours, beside, who, ratio, ratio, "x", at_least, at_most, below)

    def limit(self, what, unit, ours, at_least=None, at_most=None, below=None, beside=None, who="Redis"):
        """The bar, where there is one, is on our own figure."""
        ratio = ours / beside if beside else None
        self._add(what, unit, ours, beside, who, ratio, ours, unit, at_least, at_most, below)

    def wrong(self, what):
        """Not slow but false: fails the run, also a quick one."""
        self.is_wrong = True
        print("  WRONG   %s" % what, flush=True)

    def _add(self, what, unit, ours, beside, who, ratio, judged, judged_unit, at_least, at_most, below):
        bars, met = [], True
        for sign, bound, is_met in (
            (">=", at_least, lambda: judged >= at_least),
            ("<=", at_most, lambda: judged <= at_most),
            ("<", below, lambda: judged < below),
        ):
            if bound is not None:
                bars.append("%s %s" % (sign, ("%g %s" % (bound, judged_unit)).replace(" x", "x").replace(" /s", "/s").strip()))
                # No number meets no bar.
                met = met and is_met()
        row = {"what": what, "unit": unit, "ours": ours, "beside": beside, "who": who if beside is not None else None}
        row.update(narrow=self.narrow, ratio=ratio, bar=", ".join(bars) or None, met=met if bars else None)
        self.rows.append(row)
        said = shown(ours, unit)
        if beside is not None:
            said += " beside %s of %s: %s" % (shown(beside, unit), who, shown(ratio, "x"))
        verdict = "" if not bars else "met" if met else "MISSED"
        print("  %-7s %s: %s%s" % (verdict, what, said, ", bar " + row["bar"] if bars else ""), flush=True)

    def finish(self, json_path):
        """Writes the file, says what was missed, and gives the exit code."""
        if json_path:
            found = dict(format=FORMAT, mode=self.mode, command=self.command, about=self.about)
            found.update(is_wrong=self.is_wrong, rows=self.rows, figures=self.figures)
            with open(json_path, "w") as out:
                json.dump(plain(found), out, indent=1, allow_nan=False)
                out.write("\n")
        missed = [row["what"] for row in self.rows if row["met"] is False]
        if missed:
            print("\nmissed: " + "; ".join(missed) + ("" if self.is_judged else " (--quick: not judged)"))
        return 1 if self.is_wrong or (missed and self.is_judged) else 0


def plain(value):
    """What JSON can say: no number is null, and keys are text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value
