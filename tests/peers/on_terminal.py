"""Runs a command on a terminal of its own, of 80 x 24: on_terminal.py -- COMMAND...

Standard input here is what is typed there; what the terminal shows comes out of standard error here, byte for byte.
Standard output is not the terminal's: the command inherits it, so that --json can be read beside the screen.
Signals are passed on, and the command's exit code is ours (128 + N after signal N).
"""
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios

ROWS, COLUMNS = 24, 80


def start(argv, stdout):
    """Forks `argv` onto a new terminal; gives its process id and our end of the terminal."""
    pid, master = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.dup2(stdout, 1)
        os.close(stdout)
        os.execvp(argv[0], argv)
    os.close(stdout)
    return pid, master


def pump(master):
    """Carries keys in and the screen out until the terminal is closed by its last user."""
    typing = True
    while True:
        ready, _, _ = select.select([master, 0] if typing else [master], [], [])
        if 0 in ready:
            keys = os.read(0, 4096)
            typing = bool(keys)
            os.write(master, keys)
        if master in ready:
            try:
                shown = os.read(master, 65536)
            except OSError:  # EIO: nobody has the terminal open any more
                return
            if not shown:
                return
            while shown:
                shown = shown[os.write(2, shown):]


def main():
    if len(sys.argv) < 3 or sys.argv[1] != "--":
        sys.exit(__doc__)
    stdout = os.dup(1)
    os.close(1)
    os.open(os.devnull, os.O_WRONLY)  # the pipe ends when the command does
    pid, master = start(sys.argv[2:], stdout)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    pump(master)
    _, status = os.waitpid(pid, 0)
    sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


main()
