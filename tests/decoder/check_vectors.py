"""Holds the second implementation against the test vectors: `python3 tests/decoder/check_vectors.py`."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import readvault_decoder as rv  # noqa: E402

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"
unhex = bytes.fromhex


def body(length):
    return bytes((i * i * 31 + i // 7 + length) % 251 for i in range(length))


def same(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: {found!r} is not {expected!r}")


def refused(open_it, what):
    try:
        open_it()
    except rv.Refused:
        return
    raise AssertionError(f"{what} was not refused")


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def check_derivations(vectors):
    key = unhex(vectors["expand"]["key"])
    for case in vectors["expand"]["cases"]:
        out = rv.expand(key, case["label"], unhex(case["fields"]))
        same(out.hex(), case["out"], case["label"])
    case = vectors["extract_and_expand"]
    out = rv.extract_and_expand(unhex(case["secret"]), unhex(case["salt"]), case["label"],
                                unhex(case["fields"]))
    same(out.hex(), case["out"], "extract and expand")
    case = vectors["sealed_with_salt"]
    plain = rv.open_salted(unhex(case["key"]), case["label"], unhex(case["aad"]), unhex(case["sealed"]))
    same(plain.hex(), case["plain"], "sealed with salt")
    for length, padded in vectors["padme"]:
        same(rv.padme(length), padded, f"padme of {length}")
    return len(vectors["expand"]["cases"]) + 2 + len(vectors["padme"])


def check_chunks(vectors):
    keys = rv.DomainKeys.derive(unhex(vectors["domain_secret"]))
    size = vectors["chunk_size"]
    for case in vectors["cases"]:
        plain = body(case["plain_length"])
        _, cid, ckr = keys.identify(plain)
        same(cid.hex(), case["cid"], "CID")
        same(ckr.hex(), case["ckr"], "CKR")
        header = rv.ChunkHeader.read(unhex(case["header"]))
        record = rv.seal_chunk(header, ckr, plain, size)
        same(rv.sha256(record).hex(), case["record_sha256"], "record")
        if case["record"]:
            same(record.hex(), case["record"], "record")
        opened = rv.open_chunk(record, cid, ckr, len(plain), size, keys)
        same(opened, plain, "plain bytes")
        refused(lambda: rv.open_chunk(flipped(record, 100), cid, ckr, len(plain), size), "a flip")
        row = rv.read_chunk_row(unhex(case["row"]))
        same(row, (bytes([5] * 16), 1234, header.raw[4:11], header.prefix, header.com, 6), "row")
    return len(vectors["cases"])


def check_manifests(vectors):
    vault_key = unhex(vectors["vault_key"])
    context = unhex(vectors["item_context"])
    item_key = rv.open_item_key(unhex(vectors["store_key"]), unhex(vectors["slot_secret"]), context,
                                unhex(vectors["wrapped_seed"]))
    same(item_key.hex(), vectors["item_key"], "item key")
    keys = rv.DomainKeys.derive(unhex(vectors["domain_secret"]))
    for case in vectors["records"]:
        record = unhex(case["record"])
        manifest = rv.open_manifest(record, vault_key, item_key)
        same(manifest.length, sum(case["part_lengths"]), "length")
        same(manifest.metadata, b"name of the object", "metadata")
        parts = [body(length) for length in case["part_lengths"]]
        hashes, entries = [], []
        if manifest.inline is not None:
            same(manifest.inline, parts[0], "inline bytes")
            hashes = [keys.content_hash(parts[0])] if parts[0] else []
        else:
            step = manifest.chunk_size
            for part in parts:
                for start in range(0, len(part), step):
                    content, cid, ckr = keys.identify(part[start : start + step])
                    hashes.append(content)
                    entries.append((cid, ckr, len(part[start : start + step])))
        same([(e.cid, e.ckr, e.length) for e in manifest.entries], entries, "entries")
        same(manifest.digests["file id"], keys.file_id(hashes), "file id")
        for at in (30, 100, manifest.head_length + 5, len(record) - 1):
            damaged = flipped(record, at)
            refused(lambda: rv.open_manifest(damaged, vault_key, item_key), f"a flip at {at}")
    return len(vectors["records"])


def check_packs(vectors):
    vault_key, item_key = unhex(vectors["vault_key"]), unhex(vectors["item_key"])
    pack = unhex(vectors["pack"])
    _, _, indexes, closed = rv.read_pack(pack, vault_key)
    same(closed, False, "open pack")
    records = [record for index in indexes for record in index.records]
    same([[r[1], r[2]] for r in records], vectors["extents"], "extents")
    same(indexes[1].previous, indexes[0].hash, "chain")
    same((indexes[1].sequence, indexes[1].acknowledged), (2, 3), "sequences")
    same(len(indexes[1].tombstones), 1, "tombstones")
    same(indexes[1].voids, [bytes([8] * 16)], "voids")
    where = {record[4]: record for record in records}
    files = []
    for kind, offset, length, _, _ in records:
        if kind != "manifest":
            continue
        manifest = rv.open_manifest(pack[offset : offset + length], vault_key, item_key)
        plain = manifest.inline or b""
        for entry in manifest.entries:
            _, at, size, domain, _ = where[entry.cid]
            same(domain, entry.domain, "domain")
            chunk = pack[at : at + size]
            plain += rv.open_chunk(chunk, entry.cid, entry.ckr, entry.length, manifest.chunk_size)
        files.append(plain)
    first, second, third = vectors["bodies"]
    same(files, [body(first) + body(second), body(third)], "files")
    refused(lambda: rv.read_pack(pack[:-1], vault_key), "a pack that is cut short")
    return 1


def check_keys(vectors):
    context = unhex(vectors["context"])
    case = vectors["wrapping"]
    key = rv.unwrap_key(unhex(case["root"]), unhex(case["wrapped"]), context)
    same(key.hex(), case["key"], "wrapped key")
    refused(lambda: rv.unwrap_key(unhex(case["root"]), unhex(case["wrapped"]), context + b"!"), "context")
    case = vectors["keyring_file"]
    roots = rv.open_keyring(unhex(case["file"]), unhex(case["raw_source"]))
    key = rv.unwrap_key(roots[1], unhex(case["wrapped"]), context)
    same(key.hex(), case["key"], "key wrapped by the keyring")
    case = vectors["keyring_file_by_passphrase"]
    same(list(rv.open_keyring(unhex(case["file"]), case["passphrase"])), [1], "versions")
    refused(lambda: rv.open_keyring(unhex(case["file"]), "another passphrase"), "passphrase")
    vault, entries = rv.read_key_log(unhex(vectors["key_log"]))
    same(vault, bytes([1] * 16), "vault")
    same([entry["kind"] for entry in entries], ["store", "domain"], "entries")
    same(entries[0]["wrapped"].hex(), vectors["keyring_file"]["wrapped"], "wrapped key in the log")
    slots = vectors["slots"]
    same(rv.read_slot(unhex(slots["filled"]), 0).hex(), slots["secret"], "slot")
    same(rv.read_slot(unhex(slots["destroyed"]), 1), None, "destroyed slot")
    return 6


def check_receipts(vectors):
    vault, key = unhex(vectors["vault"]), unhex(vectors["vault_key"])
    public = rv.receipt_key(key)
    same(public.hex(), vectors["public_key"], "public key")
    for case, done in (("intended", False), ("done", True)):
        file = unhex(vectors[case]["file"])
        number, state, receipt, signature = rv.read_receipt(file, vault, key)
        same((number, state), (1, done), "number and state")
        same(rv.canonical(receipt).decode(), vectors[case]["canonical"], "canonical form")
        same(rv.is_signed(receipt, signature, public), done, "signature")
        for at in range(0, len(file), 7):
            refused(lambda: rv.read_receipt(flipped(file, at), vault, key), f"a flip at {at}")
    same(signature.hex(), vectors["done"]["signature"], "signature")
    same(rv.is_signed({**receipt, "slot": 18}, signature, public), False, "a changed receipt")
    return 4


CHECKS = {
    "derivations.json": check_derivations,
    "chunk.json": check_chunks,
    "manifest.json": check_manifests,
    "pack.json": check_packs,
    "keys.json": check_keys,
    "receipts.json": check_receipts,
}


def main():
    for name, check in CHECKS.items():
        count = check(json.loads((VECTORS / name).read_text()))
        print(f"{name}: {count} ok")


if __name__ == "__main__":
    main()
