"""Every file of the corpus, up and down again through each door.

The corpus is a folder beside the checkout, or the one that READVAULT_CORPUS names; without it these
tests are skipped.
"""

import concurrent.futures
import gzip
import hashlib
import itertools
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from botocore.exceptions import ClientError

from vault import CORPUS, Vault, wait_for

PART = 1 << 20
WORKERS = 6

# CRAM 2.1 is refused by design.
CRAM_2_1 = {"6.quickcheck.cram21.ok.cram", "ce1000.2.1.cram"}

# The BAM files without a mapped read.
UNALIGNED = {"viral_G5012.3.bam"}

# Records of more than four lines: lines divided by four say nothing.
MULTI_LINE = {"bcftools_fastqs.fq"}

# Files of invalid/ that are sound, or whose fault nothing in their bytes shows.
TAKEN = {
    "block_dropped.bam", "no_final_newline.fastq", "ok_small.bam", "ok_small_R1.fastq.gz",
    "ok_small_R2.fastq.gz",
}

# What the reason of a refusal must name: the fault and its place.
REFUSED = {
    "0000_empty_noeof.cram": "end-of-file container is missing at byte 56",
    "1.quickcheck.badeof.bam": "end-of-file marker is missing at byte 1228",
    "2.quickcheck.badheader.bam": "gzip member 1 at byte 0",
    "5.quickcheck.scramble30.truncated.cram": "end-of-file container is missing at byte 11960",
    "9.quickcheck.cram30.truncated.cram": "end-of-file container is missing at byte 49084",
    "bad_crc.fastq.gz": "gzip member 1 at byte 0: CRC32 is 0x",
    "bad_isize.fastq.gz": "ISIZE is 78301, the data's is 78300",
    "crlf.fastq": "line 1 ends in CR LF",
    "cut_mid_block.bam": "BGZF block 7 at byte 98218: it is cut",
    "cut_record.fastq": "record 300 (line 1198): it is cut",
    "empty.fastq": "empty",
    "empty.fastq.gz": "the source holds no reads",
    "flipped_bit.bam": "BGZF block 7 at byte 98218: CRC32 is 0x",
    "no_at.fastq": "record 2 (line 5): its name line does not begin with @",
    "no_eof.bam": "end-of-file marker is missing at byte 177870",
    "no_plus.fastq": "record 2 (line 7): its separator line does not begin with +",
    "nul_in_seq.fastq": "record 1 (line 2): its sequence has a NUL byte at column 6",
    "qual_out_of_range.fastq": "record 1 (line 4): its quality has byte 31 at column 1",
    "qual_short.fastq": "record 1 (line 4): 100 quality values for 101 bases",
    "trailing_garbage.fastq.gz": "bytes follow gzip member 1, from byte 23878",
    "trunc_mid_deflate.fastq.gz": "gzip member 1 at byte 0 is cut at byte 15918",
    "truncated.bam": "it is cut",
    # As the second of a pair with ok_small_R1.fastq.gz.
    "pair_missing_R2.fastq.gz": "record",
    "pair_swapped_R2.fastq.gz": "different names",
}


class Entry:
    """One read set of the corpus: its files, its type, and what must be said of it."""

    def __init__(self, file_type, *paths):
        self.file_type = file_type
        self.paths = paths
        self.label = " + ".join(str(path.relative_to(CORPUS)) for path in paths)

    def sources(self):
        return zip(("SOURCE1", "SOURCE2"), self.paths)


def file_type(path):
    base = path.name.removesuffix(".gz")
    if path.name in UNALIGNED:
        return "UBAM"
    if base.endswith(".bam") or base.endswith(".sam"):
        return "BAM"
    return "CRAM" if base.endswith(".cram") else "FASTQ"


def valid_entries():
    paths = [p for p in sorted((CORPUS / "fastq").iterdir()) if p.is_file()]
    paths += sorted((CORPUS / "bam").glob("*.bam")) + sorted((CORPUS / "ubam").glob("*.bam"))
    paths += sorted((CORPUS / "cram").rglob("*.cram"))
    mates = [("R1", "R2"), ("_1.", "_2.")]
    second = {}
    for path in paths:
        for one, two in mates:
            mate = path.with_name(path.name.replace(one, two))
            if path.parent.name == "fastq" and mate != path and mate in paths:
                second[path] = mate
    paired = set(second.values())
    return [
        Entry(file_type(path), *[p for p in (path, second.get(path)) if p])
        for path in paths
        if path not in paired and path.name not in CRAM_2_1
    ]


def refused_entries():
    folder = CORPUS / "invalid"
    entries = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.name.startswith("pair_"):
            entries.append(Entry("FASTQ", folder / "ok_small_R1.fastq.gz", path))
        elif path.name not in TAKEN:
            entries.append(Entry(file_type(path), path))
    return entries


def samtools(*arguments):
    """Its output, or None, said aloud, where it can't judge the file."""
    env = {**os.environ, "REF_PATH": "/nonexistent", "REF_CACHE": "/nonexistent"}
    done = subprocess.run(["samtools", *map(str, arguments)], capture_output=True, env=env)
    if done.returncode != 0:
        print(f"samtools can't judge {arguments[-1]}", flush=True)
        return None
    return done.stdout


def plain(path):
    content = path.read_bytes()
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def expected_reads(entry):
    if entry.file_type == "FASTQ" and entry.paths[0].name not in MULTI_LINE:
        return sum(-(-plain(path).count(b"\n") // 4) for path in entry.paths)
    # Flags only: then a CRAM can be counted without its reference.
    flags = ("--input-fmt-option", "required_fields=0x2")
    output = samtools("view", "-c", *flags, entry.paths[0])
    return None if output is None else int(output)


def is_sorted(path):
    """Whether the header says so: then an index must stand beside the reads."""
    header = samtools("view", "-H", "--no-PG", path) or b""
    lines = header.splitlines()
    return bool(lines) and lines[0].startswith(b"@HD") and b"SO:coordinate" in lines[0].split(b"\t")


def bucket_and_key(uri):
    return uri.removeprefix("s3://").split("/", 1)


@unittest.skipUnless(CORPUS.is_dir(), f"there is no corpus at {CORPUS}")
class Corpus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.vault = Vault().start()
        cls.addClassCleanup(cls.vault.close)
        pool = {"max_pool_connections": 2 * WORKERS, "read_timeout": 120}
        cls.s3 = cls.vault.client("s3", s3={"addressing_style": "path"}, **pool)
        cls.omics = cls.vault.client("omics", **pool)
        cls.role = cls.vault.env["READVAULT_RUN_ROLE"]
        cls.s3.create_bucket(Bucket="drop")
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)

    def store(self, name):
        return self.omics.create_sequence_store(name=name)["id"]

    # Three ways in.

    def put(self, store, entry, number):
        """`readvault put`."""
        done = self.vault.readvault(
            "--json", "put", *entry.paths, "--store", store, "--type", entry.file_type,
            "--sample", f"sample{number}", "--subject", "subject", "--name", f"set{number}",
        )
        return json.loads(done.stdout)["id"]

    def upload(self, store, entry, number):
        """HealthOmics multipart upload; the read set may still be refused."""
        upload = self.omics.create_multipart_read_set_upload(
            sequenceStoreId=store, sourceFileType=entry.file_type, subjectId="subject",
            sampleId=f"sample{number}", name=f"set{number}",
        )["uploadId"]
        parts = []
        for source, path in entry.sources():
            content = path.read_bytes()
            for index, at in enumerate(range(0, len(content), PART), 1):
                checksum = self.omics.upload_read_set_part(
                    sequenceStoreId=store, uploadId=upload, partSource=source, partNumber=index,
                    payload=content[at : at + PART],
                )["checksum"]
                parts.append({"partNumber": index, "partSource": source, "checksum": checksum})
        return self.omics.complete_multipart_read_set_upload(
            sequenceStoreId=store, uploadId=upload, parts=parts
        )["readSetId"]

    def source(self, entry, number):
        """A source of an import job, its files in the bucket."""
        uris = []
        for path in entry.paths:
            key = f"in/{number}/{path.name}"
            self.s3.put_object(Bucket="drop", Key=key, Body=path.read_bytes())
            uris.append(f"s3://drop/{key}")
        return {
            "sourceFiles": dict(zip(("source1", "source2"), uris)),
            "sourceFileType": entry.file_type, "subjectId": "subject",
            "sampleId": f"sample{number}", "name": f"set{number}",
        }

    def import_all(self, store, sources):
        """The ended job."""
        job = self.omics.start_read_set_import_job(
            sequenceStoreId=store, roleArn=self.role, sources=sources
        )["id"]

        def ended():
            found = self.omics.get_read_set_import_job(sequenceStoreId=store, id=job)
            return None if found["status"] in ("SUBMITTED", "IN_PROGRESS") else found

        return wait_for(ended, seconds=120)

    def settled(self, store, read_set):
        def get():
            found = self.omics.get_read_set_metadata(sequenceStoreId=store, id=read_set)
            return None if found["status"] == "PROCESSING_UPLOAD" else found

        return wait_for(get, seconds=120)

    def parallel(self, call, *columns):
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(call, *columns))

    # What must hold.

    def test_every_valid_file_comes_back_byte_for_byte(self):
        store = self.store("valid")
        entries = valid_entries()
        self.assertGreater(len(entries), 50)
        ways = [[], [], []]
        for number, entry in enumerate(entries):
            ways[number % 3].append((number, entry))
        ids = {}
        for way, call in ((ways[0], self.put), (ways[1], self.upload)):
            made = self.parallel(lambda pair: call(store, pair[1], pair[0]), way)
            ids.update(zip((number for number, _ in way), made))
        sources = self.parallel(lambda pair: self.source(pair[1], pair[0]), ways[2])
        job = self.import_all(store, sources)
        self.assertEqual(job["status"], "COMPLETED", job)
        for item in job["sources"]:
            ids[int(item["name"].removeprefix("set"))] = item["readSetId"]
        self.assertEqual(len(ids), len(entries))

        def check(number):
            entry = entries[number]
            try:
                self.check(store, ids[number], entry)
            except (AssertionError, ClientError) as fault:
                return f"{entry.label}: {fault}"

        faults = [fault for fault in self.parallel(check, range(len(entries))) if fault]
        self.assertEqual(faults, [], "\n".join(faults))
        print(f"{len(entries)} read sets, byte for byte", flush=True)

    def check(self, store, read_set, entry):
        found = self.settled(store, read_set)
        self.assertEqual(found["status"], "ACTIVE", found.get("statusMessage"))
        self.assertEqual(found["fileType"], entry.file_type)
        reads = expected_reads(entry)
        if reads is not None:
            self.assertEqual(found["sequenceInformation"]["totalReadCount"], reads)
        for source, path in entry.sources():
            content = path.read_bytes()
            facts = found["files"][source.lower()]
            self.by_s3(facts, content)
            self.by_omics(store, read_set, source, facts, content)
            if entry.file_type == "FASTQ":
                etag = found["etag"]
                self.assertEqual(etag["algorithm"], "FASTQ_MD5up")
                self.assertEqual(etag[source.lower()], hashlib.md5(plain(path)).hexdigest())
        if entry.file_type in ("BAM", "CRAM") and is_sorted(entry.paths[0]):
            index = found["files"]["index"]
            self.assertTrue(
                index["s3Access"]["s3Uri"].endswith((".bai", ".csi", ".crai")), index
            )
            bucket, key = bucket_and_key(index["s3Access"]["s3Uri"])
            whole = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            self.assertEqual(len(whole), index["contentLength"])
            self.by_omics(store, read_set, "INDEX", index, whole)
        self.by_client(store, read_set, entry)

    def by_s3(self, facts, content):
        bucket, key = bucket_and_key(facts["s3Access"]["s3Uri"])
        got = self.s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        self.assertEqual(got["Body"].read(), content, "whole, by S3")
        self.assertEqual(got["ContentLength"], len(content))
        last = len(content) - 1
        for first, end in [(0, 0), (0, last), (last, last), (last // 3, last // 2), (65_535, 65_537)]:
            if end > last:
                continue
            part = self.s3.get_object(
                Bucket=bucket, Key=key, Range=f"bytes={first}-{end}", IfMatch=got["ETag"]
            )
            self.assertEqual(part["Body"].read(), content[first : end + 1], (first, end))

    def by_omics(self, store, read_set, file, facts, content):
        self.assertEqual(facts["contentLength"], len(content))
        parts = []
        for number in range(1, facts["totalParts"] + 1):
            got = self.omics.get_read_set(
                sequenceStoreId=store, id=read_set, file=file, partNumber=number
            )
            parts.append(got["payload"].read())
        self.assertEqual(b"".join(parts), content, f"{file} by GetReadSet")
        self.assertTrue(all(len(part) == facts["partSize"] for part in parts[:-1]))
        with self.assertRaises(ClientError) as caught:
            self.omics.get_read_set(
                sequenceStoreId=store, id=read_set, file=file, partNumber=len(parts) + 1
            )
        self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 416)

    def by_client(self, store, read_set, entry):
        """`readvault get`, which checks the digests that the server keeps."""
        with tempfile.TemporaryDirectory(dir=self.temporary.name) as target:
            self.vault.readvault("--quiet", "get", f"{store}/{read_set}", "--output", target)
            got = {hashlib.sha256(p.read_bytes()).digest() for p in pathlib.Path(target).iterdir()}
            for path in entry.paths:
                self.assertIn(hashlib.sha256(path.read_bytes()).digest(), got, "readvault get")

    def test_invalid_files_are_refused_with_the_fault_and_its_place(self):
        store = self.store("invalid")
        entries = refused_entries()
        self.assertGreater(len(entries), 70)
        # An empty source can't be uploaded in parts: it has none.
        uploaded = [entry for entry in entries if entry.paths[-1].stat().st_size > 0]
        ids = self.parallel(self.upload, itertools.repeat(store), uploaded, itertools.count())

        def check(entry, read_set):
            try:
                self.refused_upload(store, entry, read_set)
            except (AssertionError, ClientError) as fault:
                return f"{entry.label}: {fault}"

        faults = [fault for fault in self.parallel(check, uploaded, ids) if fault]
        self.assertEqual(faults, [], "\n".join(faults))
        listed = self.s3.list_objects_v2(Bucket=self.alias(store))
        self.assertEqual(listed.get("Contents", []), [], "a refused read set is listed")
        print(f"{len(uploaded)} refused uploads", flush=True)

    def test_invalid_files_are_refused_by_an_import_too(self):
        store = self.store("invalid-import")
        entries = refused_entries()
        sources = self.parallel(self.source, entries, itertools.count(1000))
        job = self.import_all(store, sources)
        self.assertEqual(len(job["sources"]), len(entries))
        for entry, item in zip(entries, job["sources"]):
            with self.subTest(entry.label):
                self.assertEqual(item["status"], "FAILED", item)
                self.named(entry, item.get("statusMessage", ""))
        self.assertIn(job["status"], ("FAILED", "COMPLETED_WITH_FAILURES"))
        listed = self.s3.list_objects_v2(Bucket=self.alias(store))
        self.assertEqual(listed.get("Contents", []), [], "a refused read set is listed")
        active = self.omics.list_read_sets(sequenceStoreId=store, filter={"status": "ACTIVE"})
        self.assertEqual(active["readSets"], [])

    def alias(self, store):
        uri = self.omics.get_sequence_store(id=store)["s3Access"]["s3Uri"]
        return bucket_and_key(uri)[0]

    def named(self, entry, reason):
        if entry.paths[0].suffix == ".sam":
            self.assertIn("SAM text is not an accepted type", reason)
        else:
            self.assertIn(REFUSED[entry.paths[-1].name], reason)

    def refused_upload(self, store, entry, read_set):
        found = self.settled(store, read_set)
        self.assertEqual(found["status"], "UPLOAD_FAILED", found)
        self.named(entry, found.get("statusMessage", ""))
        for source, _ in entry.sources():
            with self.assertRaises(ClientError) as caught:
                self.omics.get_read_set(
                    sequenceStoreId=store, id=read_set, file=source, partNumber=1
                )
            status = caught.exception.response["ResponseMetadata"]["HTTPStatusCode"]
            self.assertEqual(status, 409, "GetReadSet")
        endings = {"FASTQ": "_source1.fastq.gz", "CRAM": ".cram"}
        account = self.vault.env["READVAULT_ACCOUNT"]
        key = f"{account}/sequenceStore/{store}/readSet/{read_set}/{found['name']}"
        with self.assertRaises(ClientError) as caught:
            self.s3.get_object(
                Bucket=self.alias(store), Key=key + endings.get(entry.file_type, ".bam")
            )
        status = caught.exception.response["ResponseMetadata"]["HTTPStatusCode"]
        self.assertIn(status, (403, 404), "S3")

    def test_files_that_only_look_broken_are_taken(self):
        store = self.store("taken")
        folder = CORPUS / "invalid"
        entries = [Entry(file_type(folder / name), folder / name) for name in sorted(TAKEN)]
        entries.append(
            Entry("FASTQ", folder / "ok_small_R1.fastq.gz", folder / "ok_small_R2.fastq.gz")
        )
        ids = self.parallel(self.upload, itertools.repeat(store), entries, itertools.count())
        for entry, read_set in zip(entries, ids):
            with self.subTest(entry.label):
                found = self.settled(store, read_set)
                self.assertEqual(found["status"], "ACTIVE", found)
                for source, path in entry.sources():
                    self.by_s3(found["files"][source.lower()], path.read_bytes())

    def test_cram_2_1_is_refused_and_says_how_to_convert(self):
        store = self.store("cram21")
        for number, name in enumerate(sorted(CRAM_2_1)):
            with self.subTest(name):
                read_set = self.upload(store, Entry("CRAM", CORPUS / "cram" / name), number)
                found = self.settled(store, read_set)
                self.assertEqual(found["status"], "UPLOAD_FAILED")
                self.assertIn("CRAM 2.1", found["statusMessage"])
                self.assertIn("samtools view -C", found["statusMessage"])

    def test_a_cram_whose_reference_is_elsewhere_is_kept(self):
        store = self.store("no-reference")
        path = CORPUS / "cram" / "poscon5.cram"
        found = self.settled(store, self.upload(store, Entry("CRAM", path), 0))
        self.assertEqual(found["status"], "ACTIVE", found)
        self.assertNotIn("source1", found.get("etag", {}))
        self.assertRegex(found["statusMessage"], "[0-9a-f]{32}", "the M5 that is missing")
        self.by_s3(found["files"]["source1"], path.read_bytes())

    def test_declared_types_must_be_true(self):
        store = self.store("types")
        wrong = [
            Entry("FASTQ", CORPUS / "bam" / "range.bam"),
            Entry("CRAM", CORPUS / "bam" / "range.bam"),
            Entry("BAM", CORPUS / "cram" / "range.cram"),
            Entry("BAM", CORPUS / "fastq" / "interleaved.fq"),
            Entry("UBAM", CORPUS / "bam" / "range.bam"),
        ]
        for number, entry in enumerate(wrong):
            with self.subTest(f"{entry.label} as {entry.file_type}"):
                found = self.settled(store, self.upload(store, entry, number))
                self.assertEqual(found["status"], "UPLOAD_FAILED", found)
                self.assertTrue(found.get("statusMessage"))

    def test_samtools_reads_by_url(self):
        store = self.store("samtools")
        path = CORPUS / "bam" / "htsnexus_NA12878.bam"
        found = self.settled(store, self.upload(store, Entry("BAM", path), 0))
        bucket, key = bucket_and_key(found["files"]["source1"]["s3Access"]["s3Uri"])
        whole = int(samtools("view", "-c", path))
        region = "11:5000000-5010000"
        within = int(samtools("view", "-c", path, region))
        self.assertGreater(within, 0)

        # samtools keeps a copy of an index that it fetched in the directory where it stands.
        def count(*arguments):
            with tempfile.TemporaryDirectory(dir=self.temporary.name) as target:
                return int(self.vault.run("samtools", "view", "-c", *arguments, cwd=target).stdout)

        # boto3 signs URLs by the old SigV2 unless told otherwise.
        s3 = self.vault.client("s3", signature_version="s3v4")
        signed = s3.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=300
        )
        self.assertEqual(count(signed), whole, "by presigned URL")
        index = found["files"]["index"]["s3Access"]["s3Uri"]
        index_bucket, index_key = bucket_and_key(index)
        signed_index = s3.generate_presigned_url(
            "get_object", Params={"Bucket": index_bucket, "Key": index_key}, ExpiresIn=300
        )
        self.assertEqual(count("-X", signed, signed_index, region), within, "and its index")
        url = f"s3+http://{bucket}/{key}"
        self.assertEqual(count(url), whole, "by s3+http")
        # The index beside the reads is found by its name.
        self.assertEqual(count(url, region), within, "a region, by s3+http")


if __name__ == "__main__":
    unittest.main()
