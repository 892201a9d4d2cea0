"""Memory that does not have to be fetched from the host of a virtual machine while something is measured."""
import ctypes

PAGE, BLOCK = 4 << 10, 2 << 20
KEEP_SIZE, PUNCH_HOLE = 1, 2  # of fallocate(2)


def warm(folder, amount):
    """Has the kernel keep as much free memory at hand as a run will fill. A virtual machine gives free memory back to its
    host in whole blocks, and gets it again page by page, at several times the cost. So a page of each block stays in use."""
    libc = ctypes.CDLL(None, use_errno=True)
    with (folder / "ballast").open("wb") as file:
        for _ in range(0, amount, BLOCK):
            file.write(bytes(BLOCK))
        file.flush()
        for start in range(0, amount, BLOCK):
            hole = map(ctypes.c_long, (start + PAGE, BLOCK - PAGE))
            if libc.fallocate(file.fileno(), KEEP_SIZE | PUNCH_HOLE, *hole):
                raise OSError(ctypes.get_errno(), "no holes here")
