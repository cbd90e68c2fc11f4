"""Opens ReadVault's bytes at rest, written from docs/format.md alone.

A second implementation to hold the first against: it shares no code with it. Section numbers are those of
the document. Needs `cryptography` and `blake3`.
"""

import hashlib
import hmac
import json
import struct
from dataclasses import dataclass, field

import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FRAME = 64 * 1024
TAG = 16


class Refused(Exception):
    """The bytes are not what the document demands."""


def demand(condition, why):
    if not condition:
        raise Refused(why)


# --- §1 notation -----------------------------------------------------------------------------------------


def lp(data):
    return struct.pack("<I", len(data)) + data


def hkdf_expand(key, info):
    return hmac.new(key, info + b"\x01", hashlib.sha256).digest()


def expand(key, label, *fields):
    return hkdf_expand(key, lp(b"rv1/" + label.encode()) + b"".join(fields))


def extract_and_expand(secret, salt, label, *fields):
    pseudorandom = hmac.new(salt, secret, hashlib.sha256).digest()
    return expand(pseudorandom, label, *fields)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def open_salted(key, label, aad, sealed):
    demand(len(sealed) >= 32, "sealed message is too short")
    salt, text = sealed[:16], sealed[16:]
    return gcm_open(expand(key, label, salt), bytes(12), text, aad)


def gcm_open(key, nonce, text, aad):
    try:
        return AESGCM(key).decrypt(nonce, text, aad)
    except InvalidTag:
        raise Refused("does not open under its key") from None


def padme(length):
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    kept = exponent.bit_length()
    step = 1 << max(exponent - kept, 0)
    return (length + step - 1) // step * step


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = _crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


class Reader:
    """Eats fields from the front."""

    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def take(self, length):
        demand(self.at + length <= len(self.data), "cut short")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def u8(self):
        return self.number("B")

    def u16(self):
        return self.number("H")

    def u32(self):
        return self.number("I")

    def u64(self):
        return self.number("Q")

    def lp(self):
        return self.take(self.u32())

    def checked(self):
        """A CRC32C of all that was read so far."""
        expected = crc32c(self.data[: self.at])
        demand(self.take(4) == expected, "checksum")

    def end(self):
        demand(self.at == len(self.data), "runs on")


# --- §2 frames -------------------------------------------------------------------------------------------


def frame_count(payload_length):
    return -(-payload_length // FRAME)


def sealed_length(payload_length):
    return payload_length + TAG * frame_count(payload_length)


def nonce(prefix, index, count):
    return prefix + struct.pack(">I", index) + bytes([index == count - 1])


def open_frames(key, prefix, aad, payload_length, sealed):
    demand(len(sealed) == sealed_length(payload_length), "length of frames")
    count, out = frame_count(payload_length), []
    for index in range(count):
        frame = sealed[index * (FRAME + TAG) : (index + 1) * (FRAME + TAG)]
        out.append(gcm_open(key, nonce(prefix, index, count), frame, aad))
    return b"".join(out)


def seal_frames(key, prefix, aad, payload):
    count, out = frame_count(len(payload)), []
    for index in range(count):
        plain = payload[index * FRAME : (index + 1) * FRAME]
        out.append(AESGCM(key).encrypt(nonce(prefix, index, count), plain, aad))
    return b"".join(out)


# --- §3 chunks -------------------------------------------------------------------------------------------

CHUNK_HEADER = 86


@dataclass
class DomainKeys:
    h: bytes
    id: bytes
    ck: bytes
    fid: bytes

    @classmethod
    def derive(cls, secret):
        return cls(*(expand(secret, label) for label in ("h", "id", "ck", "fid")))

    def content_hash(self, plain):
        return blake3.blake3(plain, key=self.h).digest()

    def identify(self, plain):
        """(h, CID, CKR)."""
        content = self.content_hash(plain)
        name = blake3.blake3(content, key=self.id).digest()
        return content, name, expand(self.ck, "chunk", content)

    def file_id(self, hashes):
        return blake3.blake3(b"".join(hashes), key=self.fid).digest()


@dataclass
class ChunkHeader:
    full: bool
    payload_length: int
    cid: bytes
    com: bytes
    prefix: bytes
    raw: bytes

    @classmethod
    def read(cls, data):
        reader = Reader(data[:CHUNK_HEADER])
        demand(reader.take(4) == b"RVc1", "magic of a chunk")
        version, flags, codec = reader.u8(), reader.u8(), reader.u8()
        demand(version == 1 and flags in (0, 1) and codec == 0, "version, flags or codec")
        length = reader.u32()
        demand(length > 0, "empty payload")
        cid, com, prefix = reader.take(32), reader.take(32), reader.take(7)
        reader.checked()
        return cls(flags == 1, length, cid, com, prefix, reader.data)

    def record_length(self):
        return CHUNK_HEADER + sealed_length(self.payload_length) + 4


def payload_of(plain, chunk_size):
    if len(plain) == chunk_size:
        return plain
    length = max(padme(len(plain) + 8), 4096)
    return plain + bytes(length - len(plain) - 8) + struct.pack("<II", len(plain), len(plain))


def open_chunk(record, cid, ckr, length, chunk_size, keys=None):
    """The plain bytes of a chunk; with the domain's keys, its name is computed again."""
    header = ChunkHeader.read(record)
    demand(len(record) == header.record_length(), "length of a chunk record")
    demand(record[-4:] == crc32c(record[:-4]), "checksum")
    demand(header.cid == cid, "another chunk")
    demand(header.com == expand(ckr, "chunk-com"), "commitment")
    expected = chunk_size if length == chunk_size else max(padme(length + 8), 4096)
    demand(header.full == (length == chunk_size), "full flag")
    demand(header.payload_length == expected and 1 <= length <= chunk_size, "length")
    key, aad = expand(ckr, "chunk-enc"), sha256(header.raw)
    payload = open_frames(key, header.prefix, aad, expected, record[CHUNK_HEADER:-4])
    plain = payload[:length]
    demand(payload == payload_of(plain, chunk_size), "padding or trailer")
    if keys is not None:
        demand(keys.identify(plain)[1:] == (cid, ckr), "name")
    return plain


def seal_chunk(header, ckr, plain, chunk_size):
    """The record that begins with `header`: sealing is deterministic once the prefix is drawn."""
    key, aad = expand(ckr, "chunk-enc"), sha256(header.raw)
    frames = seal_frames(key, header.prefix, aad, payload_of(plain, chunk_size))
    return header.raw + frames + crc32c(header.raw + frames)


def read_chunk_row(row):
    """(pack, offset, header's bytes without magic, CID and checksum, GC epoch)."""
    reader = Reader(row)
    pack, offset = reader.take(16), reader.u64()
    form = reader.take(7)
    prefix, com = reader.take(7), reader.take(32)
    epoch = reader.u32()
    reader.end()
    return pack, offset, form, prefix, com, epoch


# --- §4 manifests ----------------------------------------------------------------------------------------

MANIFEST_HEADER = 72
DIGESTS = {1: ("file id", 32), 2: ("sha256", 32), 3: ("md5", 16), 4: ("crc32c", 4), 5: ("crc32", 4),
           6: ("crc64nvme", 8), 7: ("sha1", 20)}


@dataclass
class Entry:
    cid: bytes
    ckr: bytes
    length: int
    domain: bytes
    epoch: int
    keyed: bool


@dataclass
class Manifest:
    id: bytes
    account: str
    store: bytes
    kind: int
    item: bytes
    role: int
    generation: int
    sequence: int
    slot: int
    replaces: list
    wrap: int
    store_key_epoch: int
    key_id: str
    context: bytes
    wrapped_seed: bytes
    length: int = 0
    chunk_size: int = 0
    inline: bytes = None
    part_runs: list = field(default_factory=list)
    entries: list = field(default_factory=list)
    digests: dict = field(default_factory=dict)
    facts: bytes = b""
    metadata: bytes = b""
    head_length: int = 0


def manifest_record_length(data):
    header, id_block, key_block, offset = _manifest_front(data)
    return offset + sealed_length(struct.unpack_from("<I", header, 21)[0]) + 4


def _manifest_front(data):
    header = data[:MANIFEST_HEADER]
    reader = Reader(data[MANIFEST_HEADER:])
    id_block, key_block = reader.lp(), reader.lp()
    return header, id_block, key_block, MANIFEST_HEADER + reader.at


def open_manifest(record, vault_key, item_key):
    """`item_key` is the key, or a function of the head that gives it."""
    header, id_block, key_block, offset = _manifest_front(record)
    reader = Reader(header)
    demand(reader.take(4) == b"RVm1" and reader.u8() == 1, "magic or version of a manifest")
    manifest_id, body_length, frames = reader.take(16), reader.u32(), reader.u32()
    com, prefix = reader.take(32), reader.take(7)
    reader.checked()
    demand(body_length > 0 and frames == frame_count(body_length), "count of frames")
    demand(len(record) == manifest_record_length(record), "length of a manifest record")
    demand(record[-4:] == crc32c(record[:-4]), "checksum")
    bound_to = sha256(header)
    id_plain = open_salted(vault_key, "id-block", bound_to, id_block)
    key_plain = open_salted(vault_key, "key-block", bound_to, key_block)
    manifest = _read_blocks(manifest_id, id_plain, key_plain)
    manifest.head_length = offset
    if callable(item_key):
        item_key = item_key(manifest)
    root = expand(item_key, "manifest", manifest_id)
    demand(com == expand(root, "manifest-com"), "commitment")
    key, aad = expand(root, "manifest-enc"), sha256(header, id_plain)
    body = open_frames(key, prefix, aad, body_length, record[offset:-4])
    _read_body(manifest, body)
    return manifest


def _read_blocks(manifest_id, id_plain, key_plain):
    reader = Reader(id_plain)
    account, store, kind = reader.lp().decode(), reader.take(16), reader.u8()
    item, role, generation = reader.take(16), reader.u8(), reader.u32()
    sequence, slot = reader.u64(), reader.u64()
    replaces = [reader.take(16) for _ in range(reader.u32())]
    reader.end()
    keys = Reader(key_plain)
    wrap, epoch, key_id = keys.u8(), keys.u32(), keys.lp().decode()
    context, seed = keys.lp(), keys.lp()
    keys.end()
    return Manifest(manifest_id, account, store, kind, item, role, generation, sequence, slot, replaces,
                    wrap, epoch, key_id, context, seed)


def _read_body(manifest, body):
    content = struct.unpack("<I", body[-4:])[0]
    demand(len(body) == max(padme(content + 4), 1024), "padded length")
    demand(not any(body[content:-4]), "padding")
    reader = Reader(body[:content])
    representation, layout = reader.u16(), reader.u8()
    demand(representation == 0 and layout in (0, 1), "representation or layout")
    manifest.chunk_size, manifest.length = reader.u32(), reader.u64()
    part_runs, entry_runs = reader.u32(), reader.u32()
    entries, tail_length = reader.u32(), reader.u32()
    manifest.part_runs = [(reader.u32(), reader.u64()) for _ in range(part_runs)]
    runs = [(reader.u32(), reader.take(16), reader.u32(), reader.u8()) for _ in range(entry_runs)]
    if layout == 0:
        demand([manifest.chunk_size, part_runs, entry_runs, entries] == [0] * 4, "inline layout")
        demand(manifest.length <= 64 * 1024, "inline length")
        manifest.inline = reader.take(manifest.length)
    else:
        _read_entries(manifest, reader, runs, entries)
    demand(content - reader.at == tail_length, "length of the tail")
    last = 0
    for _ in range(reader.u8()):
        kind = reader.u8()
        demand(kind > last and kind in DIGESTS, "digests")
        last = kind
        name, length = DIGESTS[kind]
        manifest.digests[name] = reader.take(length)
    manifest.facts, manifest.metadata = reader.lp(), reader.lp()
    reader.end()


def _read_entries(manifest, reader, runs, entries):
    lengths = []
    for index, (count, length) in enumerate(manifest.part_runs):
        demand(count > 0, "empty run")
        demand(index == 0 or manifest.part_runs[index - 1][1] != length, "runs that could be one")
        for _ in range(count):
            whole, rest = divmod(length, manifest.chunk_size)
            lengths += [manifest.chunk_size] * whole + ([rest] if rest else [])
    demand(len(lengths) == entries and sum(lengths) == manifest.length, "lengths of parts")
    firsts = [run[0] for run in runs]
    demand(firsts == sorted(set(firsts)) and firsts[:1] == ([0] if entries else []), "entry runs")
    for index, expected in enumerate(lengths):
        cid, ckr, length = reader.take(32), reader.take(32), reader.u32()
        demand(length == expected, "length of an entry")
        run = [run for run in runs if run[0] <= index][-1]
        manifest.entries.append(Entry(cid, ckr, length, run[1], run[2], run[3] == 0))


# --- §5 packs --------------------------------------------------------------------------------------------

PACK_HEADER = 41
INDEX_HEADER = 17


@dataclass
class Index:
    number: int
    writer: bytes
    sequence: int
    acknowledged: int
    previous: bytes
    start: int
    records: list
    tombstones: list
    voids: list
    bridges: list
    hash: bytes


def open_index(record, pack, vault_key):
    reader = Reader(record)
    demand(reader.take(4) == b"RVx1" and reader.u8() == 1, "magic or version of an index")
    number, length = reader.u32(), reader.u32()
    reader.checked()
    sealed = reader.take(length)
    reader.checked()
    reader.end()
    plain = Reader(open_salted(vault_key, "batch-index", pack + struct.pack("<I", number), sealed))
    writer, sequence, acknowledged = plain.take(16), plain.u64(), plain.u64()
    previous, start = plain.take(32), plain.u64()
    records, at = [], start
    for _ in range(plain.u32()):
        kind, offset, length = plain.u8(), plain.u64(), plain.u32()
        domain, name = plain.take(16), plain.take(32)
        demand(kind in (1, 2) and offset == at, "records of a batch")
        if kind == 2:
            demand(not any(domain) and not any(name[16:]), "name of a manifest")
            name = name[:16]
        records.append(("chunk" if kind == 1 else "manifest", offset, length, domain, name))
        at += length
    tombstones = [(plain.take(16), plain.take(16)) for _ in range(plain.u32())]
    voids = [plain.take(16) for _ in range(plain.u32())]
    bridges = []
    if plain.at < len(plain.data):
        bridges = [(plain.take(16), plain.take(32), plain.take(32)) for _ in range(plain.u32())]
        demand(bridges, "bridges of an index")
    plain.end()
    return Index(number, writer, sequence, acknowledged, previous, start, records, tombstones, voids,
                 bridges, sha256(record))


def read_pack(data, vault_key):
    """(pack id, writer, indexes, whether it is closed). Walks a sound pack; recovers nothing."""
    reader = Reader(data[:PACK_HEADER])
    demand(reader.take(4) == b"RVp1" and reader.u8() == 1, "magic or version of a pack")
    pack, writer = reader.take(16), reader.take(16)
    reader.checked()
    end, closed = len(data), data[-4:] == b"RVe1"
    if closed:
        end = struct.unpack("<Q", data[-16:-8])[0]
        demand(crc32c(data[end:-8]) == data[-8:-4], "checksum of the footer")
    indexes, raw, at, start = [], [], PACK_HEADER, PACK_HEADER
    while at < end:
        magic = data[at : at + 4]
        if magic == b"RVc1":
            at += ChunkHeader.read(data[at:]).record_length()
        elif magic == b"RVm1":
            at += manifest_record_length(data[at:])
        else:
            demand(magic == b"RVx1", "unknown record")
            length = INDEX_HEADER + struct.unpack_from("<I", data, at + 9)[0] + 4
            index = open_index(data[at : at + length], pack, vault_key)
            covered = index.start + sum(record[2] for record in index.records)
            demand(index.start == start and covered == at, "an index covers its batch")
            demand(index.writer == writer and index.number == len(indexes), "order of indexes")
            raw.append(data[at : at + length])
            indexes.append(index)
            at = start = at + length
    demand(at == start == end, "the last batch has no index")
    if closed:
        footer = Reader(data[end:-16])
        demand(footer.take(4) == b"RVf1" and footer.u8() == 1, "magic or version of a footer")
        demand([footer.lp() for _ in range(footer.u32())] == raw, "the footer repeats the indexes")
        footer.end()
    return pack, writer, indexes, closed


# --- §6 keys ---------------------------------------------------------------------------------------------


def unwrap_key(root, wrapped, context):
    wrapping = extract_and_expand(root, sha256(context), "keyring")
    salt, com, rest = wrapped[:16], wrapped[16:48], wrapped[48:]
    demand(com == expand(wrapping, "keyring-com", salt), "commitment")
    return open_salted(wrapping, "keyring-wrap", context, salt + rest)


def open_keyring(file, source):
    """Root keys by version. `source` is 32 bytes, or the passphrase as text."""
    reader = Reader(file)
    demand(reader.take(4) == b"RVk1", "magic of a keyring")
    kdf, memory, passes, lanes = reader.u8(), reader.u32(), reader.u32(), reader.u32()
    salt, com = reader.take(16), reader.take(32)
    if isinstance(source, str):
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

        demand(kdf == 2, "kind of source")
        argon2 = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
        source = argon2.derive(source.encode())
    else:
        demand(kdf == 1 and (memory, passes, lanes) == (0, 0, 0), "kind of source")
    key = expand(source, "keyring-source", bytes([kdf]), salt)
    demand(com == expand(key, "keyring-file-com", salt), "commitment")
    aad = sha256(file[: reader.at])
    plain = Reader(open_salted(key, "keyring-file", aad, file[reader.at :]))
    roots = {plain.u32(): plain.take(32) for _ in range(plain.u32())}
    plain.end()
    return roots


def open_item_key(store_key, slot_secret, context, wrapped_seed):
    seed = open_salted(store_key, "item-seed", context, wrapped_seed)
    return extract_and_expand(seed, slot_secret, "item", context)


def open_domain_secret(store_key, vault, domain, epoch, sealed):
    aad = lp(vault) + lp(domain) + struct.pack("<I", epoch)
    return open_salted(store_key, "domain-secret", aad, sealed)


def read_slot(data, number):
    reader = Reader(data)
    secret, stored, state = reader.take(32), reader.u64(), reader.u8()
    demand(not any(reader.take(19)), "zeros of a slot")
    reader.checked()
    reader.end()
    demand(stored == number and state in (1, 2), "slot")
    return secret if state == 1 else None


def read_key_log(data):
    """(vault, entries)."""
    reader = Reader(data)
    demand(reader.take(4) == b"RVl1" and reader.u8() == 1, "magic or version of a key log")
    vault = reader.take(16)
    reader.checked()
    entries = []
    while reader.at < len(reader.data):
        start = reader.at
        entry = Reader(reader.lp())
        expected = crc32c(reader.data[start : reader.at])
        demand(reader.take(4) == expected, "checksum")
        kind = entry.u8()
        if kind in (1, 2):
            value = {"kind": "vault" if kind == 1 else "catalog", **_wrapped(entry)}
        elif kind == 3:
            value = {"kind": "store", "account": entry.lp().decode(), "store": entry.take(16),
                     "epoch": entry.u32(), "slot": entry.u64(), **_wrapped(entry)}
        else:
            demand(kind == 4, "kind of an entry")
            value = {"kind": "domain", "store": entry.take(16), "store_key_epoch": entry.u32(),
                     "domain": entry.take(16), "epoch": entry.u32(), "chunk_size": entry.u32(),
                     "sealed": entry.lp()}
        entry.end()
        entries.append(value)
    return vault, entries


def _wrapped(entry):
    return {"wrap": entry.u8(), "key_id": entry.lp().decode(), "wrapped": entry.lp()}


# --- §8 receipts -----------------------------------------------------------------------------------------


def read_receipt(data, vault, vault_key):
    """(number, whether it is done, receipt, signature) of a file of `receipts/`."""
    reader = Reader(data)
    demand(reader.take(4) == b"RVr1" and reader.u8() == 1, "magic or version of a receipt")
    state, number = reader.u8(), reader.u32()
    demand(state in (1, 2), "state of a receipt")
    header, sealed = data[: reader.at], data[reader.at : -4]
    demand(data[-4:] == crc32c(data[:-4]), "checksum")
    plain = open_salted(vault_key, "receipt", lp(vault) + header, sealed)
    receipt = json.loads(plain[64:])
    demand(canonical(receipt) == plain[64:] and receipt["number"] == number, "form of a receipt")
    return number, state == 2, receipt, plain[:64]


def canonical(receipt):
    text = json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def receipt_key(vault_key):
    """The public key of a vault's receipts."""
    private = Ed25519PrivateKey.from_private_bytes(expand(vault_key, "receipt-sign"))
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def is_signed(receipt, signature, key):
    try:
        message = lp(b"rv1/receipt") + canonical(receipt)
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True
