"""What a step reads, seen from outside it: the kernel tells of every file, the step itself of the rest.

    window()       in the step: everything read inside is recorded (window.py)
    Listener       in the guard: the kernel's notifications, answered one by one (listener.py)
    Observer       what was read, in the order of first sight (observer.py)

Seccomp's user notifications (Linux 5.5) stop a system call that names a file until another process
has looked at it. They see native readers as well as Python's, in every thread and descendant, and a
file before the step's own write reaches it. The alternatives lose one of these: an audit hook sees no
native `open` and no `stat`; a preloaded library needs a compiler on every machine and misses the
linker's own opens and static programs; fanotify needs CAP_SYS_ADMIN and does not tell of files that
are absent; ptrace sees as much, but stops twice for each call, keeps debuggers away and has to pass
on every signal. A notified call takes about 26 microseconds; 2 to 4 without.
"""
