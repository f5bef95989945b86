"""The process that grades one answer at a time for a `GradingPool`. The pool may kill it at any moment.

It reads JSON lines `[answer, gold]` from standard input. It writes `ready` when its imports are done, then `1` (correct) or
`0` (wrong) for each line.
"""

import json
import logging
import os
import resource
import signal
import sys

READY = b"ready\n"
CORRECT = b"1\n"
WRONG = b"0\n"


def main(memory_mib: int, backstop_s: int) -> None:
    """Serve until standard input closes. An item that takes longer than `backstop_s` ends the process: its parent may be dead."""
    from rewards.verification import verify_symbolically

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    logging.disable(logging.CRITICAL)
    replies = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    verify_symbolically("x + 1", "1 + x")
    resource.setrlimit(resource.RLIMIT_AS, (memory_mib << 20, memory_mib << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.write(replies, READY)
    for line in sys.stdin.buffer:
        answer, gold = json.loads(line)
        signal.alarm(backstop_s)
        correct = verify_symbolically(answer, gold)
        signal.alarm(0)
        os.write(replies, CORRECT if correct else WRONG)


if __name__ == "__main__":
    main(memory_mib=int(sys.argv[1]), backstop_s=int(sys.argv[2]))
