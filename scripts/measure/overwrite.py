"""scripts/bench overwrite: SETs of keys that exist, for minutes at a share of the peak rate: the worst second, gaps, memory."""

import statistics

from . import load, options
from .machine import CannotMeasure
from .server import Home, Server

HELP = "10 minutes of overwriting at 70 % of the peak rate: worst second against the median one, longest gap, peak RSS"
NEEDS = ("load",)
OPTIONS = [
    options.KEYS,
    options.VALUE_BYTES,
    options.CLIENTS,
    options.THREADS,
    options.SYNC,
    options.Option("--seconds", options.whole, 600, 10, "measured, after the warm-up"),
    options.Option("--warmup", options.seconds, 10, 2, "seconds at the same rate before it"),
    options.Option("--share", options.share, 0.7, 0.7, "of the peak rate"),
    options.Option("--peak-seconds", options.positive, 20, 3, "for which the peak is measured, in a closed loop"),
    options.DEPTH._replace(default=1, quick=1, help="requests that a client sends together when the peak is measured"),
    options.Option("--budget-mb", options.whole, 512, 512, "--memory of the server"),
]
# p99.9 of the worst second to that of the median one; ms without any answer; peak RSS to the budget.
WORST_TO_MEDIAN, GAP_MS, RSS_TO_BUDGET = 10, 100, 1.1
WORST_SHOWN = 5


def seconds_of(found, seconds):
    """The rows of the whole seconds in which requests were due: what was answered after them is no second of its own."""
    rows = [row for row in found["series"] if row["second"] < seconds]
    # Those in which nothing was answered have no latency: they show as a gap, and in the seconds after them.
    answered = [row for row in rows if row["requests"] > 0]
    if len(answered) < 2:
        raise CannotMeasure("answers in %d seconds only: no second to compare with another" % len(answered))
    return answered


def run(args, results):
    print("\n%d keys, %d-byte values, %d clients, %s, --memory %dMB" % (
        args.keys, args.value_bytes, args.clients, args.sync, args.budget_mb))
    common = ["--keys", args.keys, "--value-bytes", args.value_bytes, "--clients", args.clients, "--threads", args.threads]
    overwrite = ["--workload", "overwrite"] + common
    with Home(args) as home:
        server = Server(args.binary, args.sync, home, ["--memory", "%dMB" % args.budget_mb] + args.server_args.split())
        try:
            server.start()
            load.run(args, server, ["--workload", "load", "--pipeline", 16] + common)
            words = ["--pipeline", args.depth, "--warmup", 1, "--duration", args.peak_seconds]
            peak = load.run(args, server, overwrite + words)
            rate = max(1, round(peak["rate"] * args.share))
            print("peak %.0f requests/s with P=%d; %d s at %d requests/s" % (peak["rate"], args.depth, args.seconds, rate), flush=True)
            words = ["--rate", rate, "--warmup", args.warmup, "--duration", args.seconds]
            found = load.run(args, server, overwrite + words)
            peak_rss = server.memory_mb("VmHWM")
            stalls = {} if server.redis else {field: server.counter(field) for field in ("write_stalls", "write_stall_usec", "compactions")}
        finally:
            server.stop()

    rows = seconds_of(found, args.seconds)
    p999 = [row["p999_us"] / 1e3 for row in rows]
    show(found, rows, stalls, args)
    results.figures.update(
        peak_rate=peak["rate"], rate_asked=rate, figures=load.figures(found), lateness_p99_us=found["lateness"]["p99_us"],
        seconds=rows, gap_ms=found["gap_us"] / 1e3, unanswered=found["unanswered"], peak_rss=peak_rss, **stalls)
    what = "overwrite for %d s at %.0f %% of the peak" % (args.seconds, args.share * 100)
    results.limit(what + ", rate", "/s", found["rate"])
    results.limit(what + ", CPU per operation", "us", found["server_cpu_us"])
    results.ratio(what + ", p99.9 of the worst second", "ms", max(p999), statistics.median(p999), below=WORST_TO_MEDIAN,
                  who="the median second")
    results.limit(what + ", longest gap", "ms", found["gap_us"] / 1e3, at_most=GAP_MS)
    results.limit(what + ", requests given up", "", found["unanswered"], at_most=0)
    results.limit("peak RSS under overwriting, budget %d MB" % args.budget_mb, "MB", peak_rss, at_most=args.budget_mb * RSS_TO_BUDGET)


def show(found, rows, stalls, args):
    row = load.figures(found)
    print("%.0f requests/s answered of %.0f asked for; p50 %.3f, p99 %.3f, p99.9 %.3f, max %.3f ms" % (
        found["rate"], found["rate_asked"], row["p50"], row["p99"], row["p999"], row["max"]))
    print("the generator itself was late by %.3f ms at its p99, and took %.2f us of CPU a request" % (
        found["lateness"]["p99_us"] / 1e3, found["client_cpu_us"]))
    if found["rate"] < 0.99 * found["rate_asked"]:
        print("FELL BEHIND: the rate asked for was not reached")
    if stalls:
        print("%(write_stalls)d writes held back for %(write_stall_usec)d us in all, %(compactions)d compactions, loading included" % stalls)
    print("the worst of %d seconds, by their p99.9:" % args.seconds)
    for one in sorted(rows, key=lambda row: row["p999_us"], reverse=True)[:WORST_SHOWN]:
        print("  second %4d: %8d requests   p50 %8.3f   p99.9 %8.3f   max %8.3f   gap %8.3f ms" % (
            one["second"], one["requests"], one["p50_us"] / 1e3, one["p999_us"] / 1e3, one["max_us"] / 1e3, one["gap_us"] / 1e3))
