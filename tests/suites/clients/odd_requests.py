"""Requests that ordinary clients seldom make, against one export: odd places and lengths, the largest payload and a larger
one, flags, block status, and what lies outside. Usage: odd_requests.py URI SEED; the export must hold zeroes."""

import errno
import random
import sys

import nbd

MIB = 1 << 20
LARGEST = 32 * MIB


def connect(uri):
    handle = nbd.NBD()
    # The server has to refuse what is wrong, not the library.
    handle.set_strict_mode(0)
    handle.add_meta_context("base:allocation")
    handle.connect_uri(uri)
    return handle


def refused(numbers, call, *arguments):
    """The call must fail with one of these errors."""
    try:
        call(*arguments)
    except nbd.Error as error:
        assert error.errnum in numbers, f"{call.__name__}{arguments[1:]}: {error.string}"
    else:
        raise AssertionError(f"{call.__name__}{arguments[1:]} is not refused")


def same(handle, model, offset, length):
    found = handle.pread(length, offset)
    if found != model[offset:offset + length]:
        at = next(i for i in range(length) if found[i] != model[offset + i])
        raise AssertionError(f"{offset}+{length}: byte {at} is {found[at]} instead of {model[offset + at]}")


def odd_places(handle, other, model, dice):
    """Writes and zeroes anywhere by two connections, each seen by both as soon as it is answered."""
    for step in range(600):
        length = dice.choice([1, 3, 511, 512, 513, 4095, 4096, 4097, 12289, 65537, 200003])
        offset = dice.randrange(len(model) - length)
        if dice.random() < 0.5:
            # Close to others, so that they share blocks.
            offset = dice.randrange(40000)
        writer, reader = dice.sample([handle, other], 2)
        flags = dice.choice([0, nbd.CMD_FLAG_FUA])
        kind = dice.random()
        if kind < 0.6:
            data = dice.randbytes(length)
            writer.pwrite(data, offset, flags)
            model[offset:offset + length] = data
        elif kind < 0.8:
            flags |= dice.choice([0, nbd.CMD_FLAG_NO_HOLE])
            writer.zero(length, offset, flags)
            model[offset:offset + length] = bytes(length)
        else:
            # Whole blocks read as zeroes afterwards.
            first, last = -(-offset // 4096) * 4096, (offset + length) // 4096 * 4096
            writer.trim(length, offset, flags)
            if first < last:
                model[first:last] = bytes(last - first)
            # Partial ones may do so, or stay as they are.
            for begin, end in [(offset, min(first, offset + length)), (max(last, offset), offset + length)]:
                if begin < end:
                    found = reader.pread(end - begin, begin)
                    assert found in (bytes(end - begin), model[begin:end]), f"trim {offset}+{length}"
                    model[begin:end] = found
        margin = dice.randrange(5000)
        begin, end = max(0, offset - margin), min(len(model), offset + length + margin)
        same(reader, model, begin, end - begin)
        if step % 100 == 0:
            reader.flush()


def sizes(handle, model, dice):
    """The largest payload is served, also unaligned; a larger one is refused and the connection goes on."""
    for offset in [0, 12345]:
        data = dice.randbytes(LARGEST)
        handle.pwrite(data, offset)
        model[offset:offset + LARGEST] = data
        same(handle, model, offset, LARGEST)
    # An error for a larger payload must come without the connection going down.
    refused([errno.EINVAL, errno.EOVERFLOW], handle.pwrite, bytes(LARGEST + 1), 0)
    refused([errno.EINVAL, errno.EOVERFLOW], handle.pread, LARGEST + 1, 0)
    assert handle.aio_is_ready()
    same(handle, model, 0, 4096)
    # Requests without payload may be longer.
    handle.zero(len(model), 0)
    model[:] = bytes(len(model))
    same(handle, model, 0, LARGEST)
    handle.cache(len(model), 0)


def flags(handle, model, dice):
    data = dice.randbytes(70000)
    handle.pwrite(data, 4096, nbd.CMD_FLAG_FUA)
    model[4096:4096 + len(data)] = data
    handle.zero(4096, 8192, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
    model[8192:12288] = bytes(4096)
    # Fast zeroes are fast, or refused with this very error; then nothing has changed.
    try:
        handle.zero(4096, 16384, nbd.CMD_FLAG_FAST_ZERO)
        model[16384:20480] = bytes(4096)
    except nbd.Error as error:
        assert error.errnum in (errno.ENOTSUP, errno.EOPNOTSUPP), error.string
    same(handle, model, 0, 131072)
    # With DF one chunk carries everything.
    chunks = []
    handle.pread_structured(70000, 4096, lambda data, offset, status, error: chunks.append((offset, bytes(data))),
                            nbd.CMD_FLAG_DF)
    assert chunks == [(4096, bytes(model[4096:74096]))], [(offset, len(data)) for offset, data in chunks]
    # A flag that does not exist, or not with this command.
    refused([errno.EINVAL], handle.pwrite, bytes(512), 0, 1 << 12)
    refused([errno.EINVAL], handle.trim, 512, 0, nbd.CMD_FLAG_NO_HOLE)
    same(handle, model, 0, 131072)


def block_status(handle, size):
    """Extents follow each other without a gap, from where they were asked for."""
    for offset, length, one in [(0, size, 0), (5 * 4096, 3 * 4096, 0), (4096, size - 4096, nbd.CMD_FLAG_REQ_ONE)]:
        seen = []
        handle.block_status(length, offset, lambda context, at, entries, error: seen.append((context, at, entries)), one)
        contexts = [context for context, _, _ in seen]
        assert contexts == ["base:allocation"], contexts
        _, at, entries = seen[0]
        assert at == offset and len(entries) % 2 == 0 and len(entries) >= 2
        told = sum(entries[::2])
        assert 0 < told <= length if one else told > 0, (offset, length, entries)
        assert not one or len(entries) == 2, entries


def outside(handle, model):
    size = len(model)
    for offset, length in [(size, 512), (size - 256, 512), (size + 4096, 1), ((1 << 63) - 512, 1024)]:
        refused([errno.EINVAL], handle.pread, length, offset)
        refused([errno.ENOSPC], handle.pwrite, bytes(length), offset)
        refused([errno.ENOSPC, errno.EINVAL], handle.zero, length, offset)
        refused([errno.EINVAL], handle.trim, length, offset)
    same(handle, model, size - 4096, 4096)


def main(uri, seed):
    dice = random.Random(seed)
    handle, other = connect(uri), connect(uri)
    assert handle.can_multi_conn() and handle.get_structured_replies_negotiated()
    model = bytearray(handle.get_size())
    same(handle, model, 0, LARGEST)
    odd_places(handle, other, model, dice)
    sizes(handle, model, dice)
    flags(handle, model, dice)
    block_status(handle, len(model))
    outside(handle, model)
    handle.flush()
    for offset in range(0, len(model), MIB):
        same(other, model, offset, min(MIB, len(model) - offset))
    handle.shutdown()
    other.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
