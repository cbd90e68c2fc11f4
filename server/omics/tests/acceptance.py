#!/usr/bin/env python3
"""Acceptance cases of the HealthOmics API, with boto3.

Usage: acceptance.py SERVER INSPECTOR DATA
SERVER is the example `omics_memory`, INSPECTOR is `readvault-inspect`, DATA holds `fastq/`, `bam/`,
`cram/`, `ubam/`, `ref/` and `invalid/`. Needs boto3 >= 1.38. Exits with 1 when a check fails.
"""
import base64
import gzip
import hashlib
import http.client
import os
import pathlib
import socket
import subprocess
import sys
import time
import unittest

os.environ["AWS_DISABLE_HOST_PREFIX_INJECTION"] = "true"
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull

import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError, WaiterError  # noqa: E402

SERVER, INSPECTOR, DATA = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
REGION = "us-east-1"
PART = 104857600
FASTQ = (DATA / "fastq/hiseq_TESTX_L001_R1.fastq.gz", DATA / "fastq/hiseq_TESTX_L001_R2.fastq.gz")
BAM = DATA / "bam/htsnexus_NA12878.bam"
ROLE = ""
PORT = 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def client(**changes):
    settings = dict(
        region_name=REGION, endpoint_url=f"http://127.0.0.1:{PORT}",
        aws_access_key_id="AKIDTEST", aws_secret_access_key="test-secret",
        config=Config(retries={"max_attempts": 1}))
    settings.update(changes)
    return boto3.Session().client("omics", **settings)


def settle(ask, done, seconds=60):
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer["status"] in done:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(str(answer))
        time.sleep(0.1)


class Case(unittest.TestCase):
    def setUp(self):
        self.omics = client()
        self.stores = []

    def store(self, **fields):
        store = self.omics.create_sequence_store(name=self._testMethodName, **fields)
        self.stores.append(store["id"])
        return store["id"]

    def refused(self, code, status, call, **arguments):
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        answer = caught.exception.response
        self.assertEqual(answer["Error"]["Code"], code, answer)
        self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], status)
        self.assertTrue(answer["Error"]["Message"])
        return answer["Error"]["Message"]

    def upload(self, store, sources, file_type, part=PART, **fields):
        arguments = dict(sourceFileType=file_type, subjectId="subject", sampleId="sample",
                         name="reads")
        arguments.update(fields)
        upload = self.omics.create_multipart_read_set_upload(
            sequenceStoreId=store, **arguments)["uploadId"]
        listed = []
        for index, data in enumerate(sources):
            source = f"SOURCE{index + 1}"
            starts = range(0, len(data), part)
            for number in reversed(range(1, len(starts) + 1)):
                piece = data[(number - 1) * part:number * part]
                answer = self.omics.upload_read_set_part(
                    sequenceStoreId=store, uploadId=upload, partSource=source,
                    partNumber=number, payload=piece)
                expected = base64.b64encode(hashlib.sha256(piece).digest()).decode()
                self.assertEqual(answer["checksum"], expected)
                listed.append({"partNumber": number, "partSource": source, "checksum": expected})
        return upload, listed

    def complete(self, store, sources, file_type, **fields):
        upload, parts = self.upload(store, sources, file_type, **fields)
        done = self.omics.complete_multipart_read_set_upload(
            sequenceStoreId=store, uploadId=upload, parts=parts)
        return done["readSetId"]

    def settled(self, store, read_set):
        return settle(
            lambda: self.omics.get_read_set_metadata(sequenceStoreId=store, id=read_set),
            {"ACTIVE", "UPLOAD_FAILED"})

    def fetch(self, store, read_set, name, information):
        whole = b""
        for number in range(1, information["totalParts"] + 1):
            part = self.omics.get_read_set(
                sequenceStoreId=store, id=read_set, file=name, partNumber=number)
            data = part["payload"].read()
            if number < information["totalParts"]:
                self.assertEqual(len(data), information["partSize"])
            whole += data
        self.assertEqual(len(whole), information["contentLength"])
        return whole

    def imported(self, store, sources):
        job = self.omics.start_read_set_import_job(
            sequenceStoreId=store, roleArn=ROLE, sources=sources)
        self.assertEqual(job["status"], "SUBMITTED")
        return settle(
            lambda: self.omics.get_read_set_import_job(sequenceStoreId=store, id=job["id"]),
            {"COMPLETED", "COMPLETED_WITH_FAILURES", "FAILED"})


def source(first, file_type, second=None, **fields):
    files = {"source1": first}
    if second:
        files["source2"] = second
    item = dict(sourceFiles=files, sourceFileType=file_type, subjectId="s", sampleId="p")
    item.update(fields)
    return item


class SequenceStores(Case):
    def test_ac1_life_of_a_store(self):
        made = self.omics.create_sequence_store(
            name="first", description="d", tags={"k": "v"}, propagatedSetLevelTags=["k"],
            fallbackLocation="s3://drop/fallback/")
        got = self.omics.get_sequence_store(id=made["id"])
        self.assertEqual(got["status"], "ACTIVE")
        self.assertRegex(got["s3Access"]["s3Uri"],
                         r"^s3://[a-z0-9-]{55}-s3alias/123456789012/sequenceStore/\d{10}/$")
        self.assertRegex(made["arn"], r"^arn:aws:omics:us-east-1:123456789012:sequenceStore/\d+$")
        self.assertEqual(got["eTagAlgorithmFamily"], "MD5up")
        listed = self.omics.list_sequence_stores(filter={"name": "first"})["sequenceStores"]
        self.assertEqual([store["id"] for store in listed], [made["id"]])
        changed = self.omics.update_sequence_store(
            id=made["id"], description="e", fallbackLocation="")
        self.assertEqual(changed["description"], "e")
        self.assertNotIn("fallbackLocation", changed)
        self.omics.delete_sequence_store(id=made["id"])
        self.refused("ResourceNotFoundException", 404, self.omics.delete_sequence_store,
                     id=made["id"])

    def test_ac1_a_store_that_is_not_empty_stays(self):
        store = self.store()
        upload, _ = self.upload(store, [], "FASTQ")
        self.refused("ConflictException", 409, self.omics.delete_sequence_store, id=store)
        self.omics.abort_multipart_read_set_upload(sequenceStoreId=store, uploadId=upload)
        self.omics.delete_sequence_store(id=store)

    def test_ac21_tokens(self):
        one = self.omics.create_sequence_store(name="t", clientToken="token-1")
        two = self.omics.create_sequence_store(name="t", clientToken="token-1")
        self.assertEqual(one["id"], two["id"])
        self.refused("ValidationException", 400, self.omics.create_sequence_store,
                     name="other", clientToken="token-1")

    def test_tags(self):
        store = self.omics.create_sequence_store(name="tagged", tags={"a": "1"})
        arn = store["arn"]
        self.omics.tag_resource(resourceArn=arn, tags={"b c": "2", "d": ""})
        self.omics.untag_resource(resourceArn=arn, tagKeys=["a", "d"])
        self.assertEqual(self.omics.list_tags_for_resource(resourceArn=arn)["tags"], {"b c": "2"})
        self.refused("ResourceNotFoundException", 404, self.omics.list_tags_for_resource,
                     resourceArn=arn[:-1] + "x")

    def test_ac24_pages(self):
        made = {self.omics.create_sequence_store(name="page")["id"] for _ in range(25)}
        seen = []
        for page in self.omics.get_paginator("list_sequence_stores").paginate(
                filter={"name": "page"}, PaginationConfig={"PageSize": 4}):
            seen += [store["id"] for store in page["sequenceStores"]]
        self.assertEqual(len(seen), 25)
        self.assertEqual(set(seen), made)
        first = self.omics.list_sequence_stores(maxResults=1)
        self.refused("ValidationException", 400, self.omics.list_sequence_stores,
                     nextToken=first["nextToken"], filter={"name": "page"})
        self.refused("ValidationException", 400, self.omics.list_sequence_stores,
                     nextToken="x" + first["nextToken"])


class Uploads(Case):
    def test_ac2_ac3_a_pair_comes_and_goes_byte_for_byte(self):
        store = self.store()
        data = [path.read_bytes() for path in FASTQ]
        upload, parts = self.upload(store, data, "FASTQ", part=1 << 20, name="pair")
        listed = self.omics.list_multipart_read_set_uploads(sequenceStoreId=store)["uploads"]
        self.assertEqual([item["uploadId"] for item in listed], [upload])
        shown = self.omics.list_read_set_upload_parts(
            sequenceStoreId=store, uploadId=upload, partSource="SOURCE1")["parts"]
        self.assertEqual([part["partNumber"] for part in shown],
                         list(range(1, -(-len(data[0]) // (1 << 20)) + 1)))
        arguments = dict(sequenceStoreId=store, uploadId=upload, parts=parts)
        read_set = self.omics.complete_multipart_read_set_upload(**arguments)["readSetId"]
        self.assertEqual(
            self.omics.complete_multipart_read_set_upload(**arguments)["readSetId"], read_set)
        metadata = self.settled(store, read_set)
        self.assertEqual(metadata["status"], "ACTIVE", metadata)
        self.assertEqual(set(metadata["files"]), {"source1", "source2"})
        self.assertEqual(metadata["creationType"], "UPLOAD")
        self.assertEqual(metadata["etag"]["algorithm"], "FASTQ_MD5up")
        for index, name in enumerate(("source1", "source2")):
            digest = hashlib.md5(gzip.decompress(data[index])).hexdigest()
            self.assertEqual(metadata["etag"][name], digest)
            got = self.fetch(store, read_set, name.upper(), metadata["files"][name])
            self.assertEqual(got, data[index])
        reads = sum(gzip.decompress(piece).count(b"\n") // 4 for piece in data)
        self.assertEqual(metadata["sequenceInformation"]["totalReadCount"], reads)
        self.assertEqual(self.omics.list_multipart_read_set_uploads(
            sequenceStoreId=store)["uploads"], [])
        self.refused("RangeNotSatisfiableException", 416, self.omics.get_read_set,
                     sequenceStoreId=store, id=read_set, partNumber=2)
        self.refused("ResourceNotFoundException", 404, self.omics.get_read_set,
                     sequenceStoreId=store, id=read_set, partNumber=1, file="INDEX")

    def test_ac2b_large_parts(self):
        store = self.store()
        line = b"@r\n" + b"A" * 1000 + b"\n+\n" + b"I" * 1000 + b"\n"
        data = line * (115 * (1 << 20) // len(line))
        read_set = self.complete(store, [data], "FASTQ")
        metadata = self.settled(store, read_set)
        self.assertEqual(metadata["status"], "ACTIVE", metadata)
        self.assertEqual(metadata["files"]["source1"]["totalParts"], 2)
        got = self.fetch(store, read_set, "SOURCE1", metadata["files"]["source1"])
        self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(data).digest())

    def test_bad_parts_are_named(self):
        store = self.store()
        upload, parts = self.upload(store, [b"abc"], "FASTQ", part=2)
        call = self.omics.complete_multipart_read_set_upload
        wrong = [dict(parts[0], checksum="A" * 44), parts[1]]
        gap = [dict(part, partNumber=part["partNumber"] + 1) for part in parts]
        for listed in (wrong, gap, parts[:1] if parts[0]["partNumber"] == 2 else parts[1:], []):
            self.refused("ValidationException", 400, call, sequenceStoreId=store,
                         uploadId=upload, parts=listed)
        again = self.omics.upload_read_set_part(
            sequenceStoreId=store, uploadId=upload, partSource="SOURCE1", partNumber=1,
            payload=b"xy")
        shown = self.omics.list_read_set_upload_parts(
            sequenceStoreId=store, uploadId=upload, partSource="SOURCE1")["parts"]
        self.assertEqual(shown[0]["checksum"], again["checksum"])
        self.omics.abort_multipart_read_set_upload(sequenceStoreId=store, uploadId=upload)
        self.refused("ResourceNotFoundException", 404, call, sequenceStoreId=store,
                     uploadId=upload, parts=parts)

    def test_source2_is_for_fastq_only(self):
        store = self.store()
        upload, _ = self.upload(store, [], "BAM")
        self.refused("ValidationException", 400, self.omics.upload_read_set_part,
                     sequenceStoreId=store, uploadId=upload, partSource="SOURCE2", partNumber=1,
                     payload=b"x")

    def test_a_bad_file_fails_with_its_reason(self):
        store = self.store()
        for name, kind in (("bad_crc.fastq.gz", "FASTQ"), ("flipped_bit.bam", "BAM"),
                           ("cut_record.fastq", "FASTQ")):
            data = (DATA / "invalid" / name).read_bytes()
            read_set = self.complete(store, [data], kind, name=name)
            metadata = self.settled(store, read_set)
            self.assertEqual(metadata["status"], "UPLOAD_FAILED", name)
            self.assertTrue(metadata["statusMessage"], name)
            self.refused("ConflictException", 409, self.omics.get_read_set,
                         sequenceStoreId=store, id=read_set, partNumber=1)

    def test_a_bam_gets_its_index(self):
        store = self.store()
        read_set = self.complete(store, [BAM.read_bytes()], "BAM", name="na12878")
        metadata = self.settled(store, read_set)
        self.assertEqual(metadata["status"], "ACTIVE", metadata)
        self.assertIn("index", metadata["files"])
        self.assertTrue(metadata["files"]["index"]["s3Access"]["s3Uri"].endswith(".bam.bai"))
        self.assertEqual(metadata["sequenceInformation"]["alignment"], "ALIGNED")
        index = self.fetch(store, read_set, "INDEX", metadata["files"]["index"])
        self.assertEqual(index[:4], b"BAI\1")

    def test_signed_part_with_another_body_is_refused(self):
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        store = self.store()
        upload, _ = self.upload(store, [], "FASTQ")
        url = (f"http://127.0.0.1:{PORT}/sequencestore/{store}/upload/{upload}/part"
               "?partNumber=1&partSource=SOURCE1")
        digest = hashlib.sha256(b"right").hexdigest()
        for body, status in ((b"wrong", 400), (b"right", 200)):
            request = AWSRequest("PUT", url, data=b"right",
                                 headers={"X-Amz-Content-SHA256": digest})
            SigV4Auth(Credentials("AKIDTEST", "test-secret"), "omics", REGION).add_auth(request)
            connection = http.client.HTTPConnection("127.0.0.1", PORT)
            connection.request("PUT", url.split(str(PORT), 1)[1], body, dict(request.headers))
            self.assertEqual(connection.getresponse().status, status)
            connection.close()


class Imports(Case):
    def test_ac6_import_and_list(self):
        store = self.store()
        done = self.imported(store, [
            source("s3://drop/run/R1.fastq.gz", "FASTQ", "s3://drop/run/R2.fastq.gz",
                   name="pair", tags={"k": "v"}),
            source("s3://drop/na.bam", "BAM", sampleId="na"),
            source("s3://drop/missing.bam", "BAM"),
            source("s3://drop/bad.fastq.gz", "FASTQ"),
        ])
        self.assertEqual(done["status"], "COMPLETED_WITH_FAILURES")
        states = [item["status"] for item in done["sources"]]
        self.assertEqual(states, ["FINISHED", "FINISHED", "FAILED", "FAILED"], done)
        self.assertIn("missing.bam", done["sources"][2]["statusMessage"])
        listed = self.omics.list_read_sets(
            sequenceStoreId=store, filter={"sampleId": "na"})["readSets"]
        self.assertEqual([item["id"] for item in listed], [done["sources"][1]["readSetId"]])
        everything = self.omics.list_read_sets(sequenceStoreId=store)["readSets"]
        self.assertEqual(len(everything), 2)
        metadata = self.omics.get_read_set_metadata(
            sequenceStoreId=store, id=done["sources"][0]["readSetId"])
        self.assertEqual(metadata["creationJobId"], done["id"])
        self.assertEqual(metadata["etag"]["algorithm"], "FASTQ_MD5up")
        self.assertTrue(
            metadata["files"]["source1"]["s3Access"]["s3Uri"].endswith("/R1.fastq.gz"))
        got = self.fetch(store, metadata["id"], "SOURCE1", metadata["files"]["source1"])
        self.assertEqual(got, FASTQ[0].read_bytes())
        jobs = self.omics.list_read_set_import_jobs(
            sequenceStoreId=store, filter={"status": "COMPLETED_WITH_FAILURES"})["importJobs"]
        self.assertEqual([job["id"] for job in jobs], [done["id"]])

    def test_ac6_waiter(self):
        store = self.store()
        job = self.omics.start_read_set_import_job(
            sequenceStoreId=store, roleArn=ROLE, sources=[source("s3://drop/na.bam", "BAM")])
        waiter = self.omics.get_waiter("read_set_import_job_completed")
        waiter.wait(sequenceStoreId=store, id=job["id"],
                    WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        failing = self.omics.start_read_set_import_job(
            sequenceStoreId=store, roleArn=ROLE, sources=[source("s3://drop/no.bam", "BAM")])
        with self.assertRaises(WaiterError):
            waiter.wait(sequenceStoreId=store, id=failing["id"],
                        WaiterConfig={"Delay": 1, "MaxAttempts": 60})

    def test_an_unknown_role_is_refused(self):
        self.refused("AccessDeniedException", 403, self.omics.start_read_set_import_job,
                     sequenceStoreId=self.store(),
                     roleArn="arn:aws:iam::123456789012:role/nobody",
                     sources=[source("s3://drop/na.bam", "BAM")])

    def test_ac7_batch_delete_names_the_bad_id(self):
        store = self.store()
        done = self.imported(store, [source("s3://drop/na.bam", "BAM")])
        read_set = done["sources"][0]["readSetId"]
        answer = self.omics.batch_delete_read_set(
            sequenceStoreId=store, ids=[read_set, "9999999999"])
        self.assertEqual([(e["id"], e["code"]) for e in answer["errors"]],
                         [("9999999999", "ResourceNotFoundException")])
        self.refused("ResourceNotFoundException", 404, self.omics.get_read_set_metadata,
                     sequenceStoreId=store, id=read_set)
        self.assertEqual(self.omics.list_read_sets(sequenceStoreId=store)["readSets"], [])
        self.omics.delete_sequence_store(id=store)

    def test_ac7_export_and_activation(self):
        store = self.store()
        done = self.imported(store, [
            source("s3://drop/run/R1.fastq.gz", "FASTQ", "s3://drop/run/R2.fastq.gz")])
        read_set = done["sources"][0]["readSetId"]
        job = self.omics.start_read_set_export_job(
            sequenceStoreId=store, destination="s3://drop/out/", roleArn=ROLE,
            sources=[{"readSetId": read_set}, {"readSetId": "9999999999"}])
        ended = settle(
            lambda: self.omics.get_read_set_export_job(sequenceStoreId=store, id=job["id"]),
            {"COMPLETED", "COMPLETED_WITH_FAILURES", "FAILED"})
        self.assertEqual(ended["status"], "COMPLETED_WITH_FAILURES")
        self.assertEqual([(item["id"], item["status"]) for item in ended["readSets"]],
                         [(read_set, "FINISHED"), ("9999999999", "FAILED")])
        again = self.imported(
            store, [source(f"s3://drop/out/{read_set}/R2.fastq.gz", "FASTQ")])
        self.assertEqual(again["status"], "COMPLETED", again)
        metadata = self.omics.get_read_set_metadata(
            sequenceStoreId=store, id=again["sources"][0]["readSetId"])
        got = self.fetch(store, metadata["id"], "SOURCE1", metadata["files"]["source1"])
        self.assertEqual(got, FASTQ[1].read_bytes())
        job = self.omics.start_read_set_activation_job(
            sequenceStoreId=store, sources=[{"readSetId": read_set}])
        self.omics.get_waiter("read_set_activation_job_completed").wait(
            sequenceStoreId=store, id=job["id"])
        jobs = self.omics.list_read_set_activation_jobs(sequenceStoreId=store)["activationJobs"]
        self.assertEqual([item["id"] for item in jobs], [job["id"]])

    def test_read_set_filters_and_pages(self):
        store = self.store()
        line = b"@r\nA\n+\nI\n"
        for number in range(7):
            read_set = self.complete(store, [line * (number + 1)], "FASTQ", name=f"n{number}",
                                     sampleId=f"p{number % 2}", subjectId="one")
            self.assertEqual(self.settled(store, read_set)["status"], "ACTIVE")
        pages = self.omics.get_paginator("list_read_sets").paginate(
            sequenceStoreId=store, filter={"subjectId": "one", "status": "ACTIVE"},
            PaginationConfig={"PageSize": 3})
        names = [item["name"] for page in pages for item in page["readSets"]]
        self.assertEqual(names, [f"n{number}" for number in range(7)])
        odd = self.omics.list_read_sets(
            sequenceStoreId=store, filter={"sampleId": "p1", "referenceArn": ""})["readSets"]
        self.assertEqual([item["name"] for item in odd], ["n1", "n3", "n5"])
        none = self.omics.list_read_sets(
            sequenceStoreId=store, filter={"createdAfter": "2040-01-01T00:00:00Z"})
        self.assertEqual(none["readSets"], [])


class References(Case):
    def test_ac4_reference(self):
        existing = self.omics.list_reference_stores()["referenceStores"]
        self.assertEqual(existing, [])
        store = self.omics.create_reference_store(name="genomes")["id"]
        self.refused("ServiceQuotaExceededException", 402, self.omics.create_reference_store,
                     name="second")
        job = self.omics.start_reference_import_job(
            referenceStoreId=store, roleArn=ROLE,
            sources=[{"sourceFile": "s3://drop/ref.fa", "name": "tiny"}])
        done = settle(lambda: self.omics.get_reference_import_job(
            referenceStoreId=store, id=job["id"]), {"COMPLETED", "FAILED"})
        self.assertEqual(done["status"], "COMPLETED", done)
        reference = done["sources"][0]["referenceId"]
        metadata = self.omics.get_reference_metadata(referenceStoreId=store, id=reference)
        fasta = REFERENCE
        self.assertEqual(metadata["md5"], hashlib.md5(fasta).hexdigest())
        self.assertEqual(metadata["status"], "ACTIVE")
        self.assertEqual(set(metadata["files"]), {"source", "index"})
        whole = self.omics.get_reference(
            referenceStoreId=store, id=reference, partNumber=1)["payload"].read()
        self.assertEqual(whole, fasta)
        piece = self.omics.get_reference(
            referenceStoreId=store, id=reference, partNumber=1, range="bytes=3-9")
        self.assertEqual(piece["payload"].read(), fasta[3:10])
        self.refused("RangeNotSatisfiableException", 416, self.omics.get_reference,
                     referenceStoreId=store, id=reference, partNumber=1,
                     range=f"bytes={len(fasta)}-")
        index = self.omics.get_reference(
            referenceStoreId=store, id=reference, partNumber=1, file="INDEX")["payload"].read()
        self.assertEqual(index.split(b"\t")[0], b"chrT")
        listed = self.omics.list_references(
            referenceStoreId=store, filter={"name": "tiny"})["references"]
        self.assertEqual([item["id"] for item in listed], [reference])
        self.refused("ConflictException", 409, self.omics.delete_reference_store, id=store)
        self.another_reference_is_refused(metadata["arn"])
        self.omics.delete_reference(referenceStoreId=store, id=reference)
        self.omics.delete_reference_store(id=store)

    def another_reference_is_refused(self, arn):
        store = self.store()
        read_set = self.complete(store, [BAM.read_bytes()], "BAM", referenceArn=arn)
        metadata = self.settled(store, read_set)
        self.assertEqual(metadata["status"], "UPLOAD_FAILED", metadata)
        names = arn.split("/")
        self.refused("ConflictException", 409, self.omics.delete_reference,
                     referenceStoreId=names[1], id=names[3])
        self.omics.batch_delete_read_set(sequenceStoreId=store, ids=[read_set])


class Gate(Case):
    def test_ac23_wrong_credentials(self):
        for changes, code in (
                (dict(aws_secret_access_key="wrong"), "InvalidSignatureException"),
                (dict(aws_access_key_id="AKIDOTHER"), "UnrecognizedClientException"),
                (dict(aws_session_token="none"), "UnrecognizedClientException"),
                (dict(region_name="eu-west-1"), "InvalidSignatureException")):
            self.refused(code, 403, client(**changes).list_sequence_stores)

    def raw(self, method, path, body=b"", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", PORT)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    def signed(self, method, path, body=b"", at=None, headers=None, expires=None):
        import datetime
        from unittest import mock
        from botocore import auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        request = AWSRequest(method, f"http://127.0.0.1:{PORT}{path}", data=body,
                             headers=headers or {})
        credentials = Credentials("AKIDTEST", "test-secret")
        if expires:
            signer = auth.SigV4QueryAuth(credentials, "omics", REGION, expires)
        else:
            signer = auth.SigV4Auth(credentials, "omics", REGION)
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=at or 0)
        name = "get_current_datetime"
        with mock.patch.object(auth, name, lambda *_a, **_k: now.replace(tzinfo=None)):
            signer.add_auth(request)
        return request

    def test_ac23_raw_requests(self):
        answer = self.raw("POST", "/sequencestores")
        self.assertEqual(answer.status, 403)
        self.assertEqual(answer.getheader("x-amzn-ErrorType"),
                         "MissingAuthenticationTokenException")
        self.assertTrue(answer.getheader("x-amzn-RequestId"))
        for at, status in ((0, 200), (-800, 200), (800, 200), (-1000, 403), (1000, 403)):
            request = self.signed("POST", "/sequencestores", b"{}", at)
            answer = self.raw("POST", "/sequencestores", b"{}", dict(request.headers))
            self.assertEqual(answer.status, status, at)
        request = self.signed("POST", "/sequencestores", b"{}")
        headers = dict(request.headers)
        for _ in range(3):
            self.assertEqual(self.raw("POST", "/sequencestores", b"{}", headers).status, 200)
        self.assertEqual(self.raw("POST", "/sequencestores", b"{ }", headers).status, 403)
        headers["x-amz-meta-x"] = "y"
        self.assertEqual(self.raw("POST", "/sequencestores", b"{}", headers).status, 403)
        request = self.signed("GET", "/nothing/here")
        answer = self.raw("GET", "/nothing/here", headers=dict(request.headers))
        self.assertEqual((answer.status, answer.getheader("x-amzn-ErrorType")),
                         (404, "UnknownOperationException"))

    def test_ac23_presigned(self):
        store = self.store()
        path = f"/sequencestore/{store}"
        for at, status in ((0, 200), (-59, 200), (-100, 403), (1000, 403)):
            request = self.signed("GET", path, at=at, expires=60)
            url = request.url.split(str(PORT), 1)[1]
            self.assertEqual(self.raw("GET", url).status, status, at)
        request = self.signed("GET", path, expires=60)
        url = request.url.split(str(PORT), 1)[1].replace(store, "1234567890")
        self.assertEqual(self.raw("GET", url).status, 403)

    def test_ac22_validation(self):
        call = self.omics.create_sequence_store
        self.refused("ValidationException", 400, call, name="a\tb")
        self.refused("ValidationException", 400, call, name="a", tags={"aws:x": "y"})
        self.refused("ValidationException", 400, call, name="a",
                     sseConfig={"type": "KMS",
                                "keyArn": "arn:aws:kms:us-east-1:123456789012:key/1"})
        self.refused("NotSupportedOperationException", 405, self.omics.get_s3_access_policy,
                     s3AccessPointArn="arn:aws:s3:us-east-1:123456789012:accesspoint/x")


def main():
    global ROLE, PORT, REFERENCE
    PORT = free_port()
    REFERENCE = b">chrT test\n" + b"ACGTACGTAC\n" * 40 + b">chrU\nTTTTGGGG\n"
    work = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"omics-acceptance-{os.getpid()}.fa"
    work.write_bytes(REFERENCE)
    seeds = {
        "drop/run/R1.fastq.gz": FASTQ[0], "drop/run/R2.fastq.gz": FASTQ[1], "drop/na.bam": BAM,
        "drop/bad.fastq.gz": DATA / "invalid/bad_crc.fastq.gz", "drop/ref.fa": work,
    }
    server = subprocess.Popen(
        [SERVER, str(PORT), INSPECTOR] + [f"{key}={path}" for key, path in seeds.items()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        ready = server.stdout.readline().split()
        if ready[:1] != ["ready"]:
            sys.exit("the server did not start")
        ROLE = ready[1]
        program = unittest.main(argv=sys.argv[:1] + sys.argv[4:], exit=False, verbosity=2)
        failed = not program.result.wasSuccessful()
    finally:
        server.stdin.close()
        server.wait(timeout=10)
        work.unlink()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
