"""Opens every file in the packs of a data directory, from its keys and packs alone, without a catalog.

    python3 tests/decoder/open_vault.py DIR [--key FILE | --passphrase TEXT]

Prints one line a file: item, role, length, SHA-256. Deleted, erased and void ones are left out, so the lines are what a
rebuild would find. Without a key it takes DIR/dev.key.
"""

import argparse
import hashlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import readvault_decoder as rv  # noqa: E402


def key_source(arguments):
    if arguments.passphrase is not None:
        return arguments.passphrase
    data = pathlib.Path(arguments.key or pathlib.Path(arguments.directory) / "dev.key").read_bytes()
    return data if len(data) == 32 else bytes.fromhex(data.decode().strip())


def context(vault, purpose, store=None):
    pairs = {"rv:purpose": purpose, "rv:v": "1", "rv:vault": vault.hex()}
    if store is not None:
        pairs |= {"rv:account": store["account"], "rv:store": store["store"].hex()}
    fields = [rv.lp(text.encode()) for name in sorted(pairs) for text in (name, pairs[name])]
    return len(pairs).to_bytes(4, "little") + b"".join(fields)


class Erased(rv.Refused):
    """The item's shred slot was destroyed."""


def in_order(batches):
    """Batches in the order of writing, without those that their writer gave up (docs/format.md, 5.5)."""
    began = {}
    for index, _ in batches:
        began[index.writer] = min(began.get(index.writer, index.acknowledged), index.acknowledged)
    batches = sorted(batches, key=lambda one: (began[one[0].writer], one[0].writer, one[0].sequence))
    for (index, pack), following in zip(batches, batches[1:] + [None]):
        given_up = following is not None and following[0].writer == index.writer and (
            following[0].previous == index.previous)
        if not given_up:
            yield index, pack


class Vault:
    def __init__(self, directory, source):
        self.directory = pathlib.Path(directory)
        self.roots = rv.open_keyring((self.directory / "keyring").read_bytes(), source)
        self.vault, entries = rv.read_key_log((self.directory / "keys.log").read_bytes())
        self.slots = (self.directory / "shred.slots").read_bytes()
        self.stores, self.domains = {}, {}
        # Of each key its newest wrapping: older ones may be under root keys that are gone.
        newest = {(entry["kind"], entry.get("store"), entry.get("domain"), entry.get("epoch")): entry
                  for entry in entries}
        for entry in sorted(newest.values(), key=lambda entry: entry["kind"] == "domain"):
            if entry["kind"] == "vault":
                self.vault_key = self.unwrap(entry, context(self.vault, "vault"))
            elif entry["kind"] == "store":
                bound_to = context(self.vault, "store", entry)
                self.stores[entry["store"]] = self.unwrap(entry, bound_to)
            elif entry["kind"] == "domain":
                key = self.stores[entry["store"]]
                secret = rv.open_domain_secret(key, self.vault, entry["domain"], entry["epoch"],
                                               entry["sealed"])
                self.domains[entry["domain"], entry["epoch"]] = rv.DomainKeys.derive(secret)

    def unwrap(self, entry, bound_to):
        version = int(entry["key_id"].removeprefix("keyring/v"))
        return rv.unwrap_key(self.roots[version], entry["wrapped"], bound_to)

    def item_key(self, manifest):
        bound_to = b"".join(rv.lp(part) for part in (manifest.account.encode(), manifest.store,
                                                     bytes([manifest.kind]), manifest.item))
        slot = rv.read_slot(self.slots[64 * manifest.slot : 64 * manifest.slot + 64], manifest.slot)
        if slot is None:
            raise Erased("the slot was erased")
        return rv.open_item_key(self.stores[manifest.store], slot, bound_to, manifest.wrapped_seed)

    def read_packs(self):
        """The packs by id, and what their indexes name."""
        packs, chunks, manifests, batches = {}, {}, {}, []
        for path in sorted((self.directory / "packs").glob("*.pack")):
            data = path.read_bytes()
            if len(data) <= rv.PACK_HEADER:
                continue
            pack, _, indexes, _ = rv.read_pack(data, self.vault_key)
            packs[pack] = data
            batches += [(index, pack) for index in indexes]
        for index, pack in in_order(batches):
            for kind, offset, length, domain, name in index.records:
                if kind == "chunk":
                    chunks[domain, name] = (pack, offset, length)
                else:
                    manifests[name[:16]] = (pack, offset, length)
            for void in index.voids:
                manifests.pop(void, None)
        return packs, chunks, list(manifests.values())

    def files(self):
        packs, chunks, manifests = self.read_packs()
        for pack, offset, length in manifests:
            record = packs[pack][offset : offset + length]
            try:
                manifest = rv.open_manifest(record, self.vault_key, self.item_key)
            except Erased:
                continue
            digest = hashlib.sha256(manifest.inline or b"")
            for entry in manifest.entries:
                pack_of, at, size = chunks[entry.domain, entry.cid]
                keys = self.domains[entry.domain, entry.epoch] if entry.keyed else None
                digest.update(rv.open_chunk(packs[pack_of][at : at + size], entry.cid, entry.ckr,
                                            entry.length, manifest.chunk_size, keys))
            yield manifest, digest.hexdigest()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--key")
    parser.add_argument("--passphrase")
    arguments = parser.parse_args()
    for manifest, digest in Vault(arguments.directory, key_source(arguments)).files():
        print(manifest.item.hex(), manifest.role, manifest.length, digest)


if __name__ == "__main__":
    main()
