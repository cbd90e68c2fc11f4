"""HealthOmics storage with boto3 and aws cli over a real server."""

import base64
import gzip
import hashlib
import io
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import unittest
import unittest.mock
import uuid
import zipfile

import boto3
import botocore.config
from botocore.exceptions import ClientError, ParamValidationError, WaiterError

from vault import VaultCase, wait_for

QUICK = {"Delay": 1, "MaxAttempts": 60}
FASTA = b">chr1\n" + b"ACGTACGTAC\n" * 100 + b">chr2 second\n" + b"GGGGCCCCAA\n" * 50


def fastq(reads, seed=0):
    return b"".join(b"@r%d_%d\nACGTACGT\n+\nIIIIIIII\n" % (seed, n) for n in range(reads))


class Storage(VaultCase):
    """A vault, its clients, and the steps that tests share."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.role = cls.vault.env["READVAULT_RUN_ROLE"]
        cls.account = cls.vault.env["READVAULT_ACCOUNT"]
        cls.s3.create_bucket(Bucket="drop")
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name)

    def store(self, name="store", **options):
        return self.omics.create_sequence_store(name=name, **options)["id"]

    def begin(self, store, **options):
        options = {"sourceFileType": "FASTQ", "subjectId": "subject", "sampleId": "sample",
                   "name": "reads", **options}
        return self.omics.create_multipart_read_set_upload(sequenceStoreId=store, **options)

    def upload(self, store, content=None, second=None, **options):
        """The id of a read set that is ACTIVE."""
        upload = self.begin(store, **options)["uploadId"]
        parts = []
        for source, text in (("SOURCE1", content or fastq(3)), ("SOURCE2", second)):
            if text is None:
                continue
            checksum = self.omics.upload_read_set_part(
                sequenceStoreId=store, uploadId=upload, partSource=source, partNumber=1, payload=text
            )["checksum"]
            parts.append({"partNumber": 1, "partSource": source, "checksum": checksum})
        read_set = self.omics.complete_multipart_read_set_upload(
            sequenceStoreId=store, uploadId=upload, parts=parts
        )["readSetId"]
        found = self.settled(store, read_set)
        self.assertEqual(found["status"], "ACTIVE", found)
        return read_set

    def settled(self, store, read_set):
        def get():
            found = self.omics.get_read_set_metadata(sequenceStoreId=store, id=read_set)
            return None if found["status"] == "PROCESSING_UPLOAD" else found

        return wait_for(get, seconds=60)

    def refused(self, code, status, call, **arguments):
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        response = caught.exception.response
        self.assertEqual(response["Error"]["Code"], code, response)
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], status)
        self.assertTrue(response["Error"]["Message"])
        self.assertTrue(response["ResponseMetadata"]["RequestId"])

    def source(self, key, **options):
        return {"sourceFiles": {"source1": f"s3://drop/{key}"}, "sourceFileType": "FASTQ",
                "subjectId": "subject", "sampleId": "sample", "name": "imported", **options}


class Hosts(Storage):
    def test_the_five_prefixed_hosts(self):
        """Clients put a prefix before the host: each operation is served under its own name."""
        real = socket.getaddrinfo
        asked = set()

        def resolve(host, *rest, **named):
            if isinstance(host, str) and host.endswith(".vault.test"):
                asked.add(host)
                host = "127.0.0.1"
            return real(host, *rest, **named)

        config = botocore.config.Config(
            inject_host_prefix=True, retries={"max_attempts": 1}, proxies={}
        )
        with unittest.mock.patch("socket.getaddrinfo", resolve):
            omics = boto3.client(
                "omics", endpoint_url=f"http://omics.vault.test:{self.vault.port}", config=config,
                region_name=self.vault.env["AWS_DEFAULT_REGION"],
                aws_access_key_id=self.vault.env["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.vault.env["AWS_SECRET_ACCESS_KEY"],
            )
            store = omics.create_sequence_store(name="prefixed", tags={"a": "b"})
            upload = omics.create_multipart_read_set_upload(
                sequenceStoreId=store["id"], sourceFileType="FASTQ", subjectId="s", sampleId="s",
                name="n",
            )["uploadId"]
            content = fastq(10)
            part = omics.upload_read_set_part(
                sequenceStoreId=store["id"], uploadId=upload, partSource="SOURCE1", partNumber=1,
                payload=content,
            )
            read_set = omics.complete_multipart_read_set_upload(
                sequenceStoreId=store["id"], uploadId=upload,
                parts=[{"partNumber": 1, "partSource": "SOURCE1", "checksum": part["checksum"]}],
            )["readSetId"]
            self.settled(store["id"], read_set)
            got = omics.get_read_set(sequenceStoreId=store["id"], id=read_set, partNumber=1)
            self.assertEqual(got["payload"].read(), content)
            self.assertEqual(omics.list_tags_for_resource(resourceArn=store["arn"])["tags"], {"a": "b"})
            omics.list_workflows()
            self.refused("NotSupportedOperationException", 405, omics.list_shares,
                         resourceOwner="SELF")
        prefixes = {host.removesuffix("omics.vault.test") for host in asked}
        self.assertEqual(
            prefixes, {"control-storage-", "storage-", "tags-", "workflows-", "analytics-"}
        )

    def test_variants_and_annotations_are_refused_plainly(self):
        with self.assertRaises(ClientError) as caught:
            self.omics.list_variant_stores()
        response = caught.exception.response
        self.assertIn(response["ResponseMetadata"]["HTTPStatusCode"], (400, 403, 404, 405))
        self.assertTrue(response["Error"]["Message"])


class Stores(Storage):
    def test_the_fields_of_a_store(self):
        made = self.omics.create_sequence_store(
            name="fields", description="what it is for", tags={"k": "v"},
            eTagAlgorithmFamily="SHA256up", propagatedSetLevelTags=["project"],
        )
        self.assertRegex(made["id"], r"^\d{10,36}$")
        region = self.vault.env["AWS_DEFAULT_REGION"]
        arn = f"arn:aws:omics:{region}:{self.account}:sequenceStore/{made['id']}"
        self.assertEqual(made["arn"], arn)
        found = self.omics.get_sequence_store(id=made["id"])
        self.assertEqual((found["name"], found["description"]), ("fields", "what it is for"))
        self.assertEqual(found["status"], "ACTIVE")
        self.assertEqual(found["eTagAlgorithmFamily"], "SHA256up")
        self.assertEqual(found["propagatedSetLevelTags"], ["project"])
        uri = found["s3Access"]["s3Uri"]
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        self.assertTrue(bucket.endswith("-s3alias"))
        self.assertLessEqual(len(bucket), 63)
        self.assertEqual(key, f"{self.account}/sequenceStore/{made['id']}/")
        content = fastq(4)
        read_set = self.upload(made["id"], content, tags={"project": "p", "other": "o"})
        facts = self.omics.get_read_set_metadata(sequenceStoreId=made["id"], id=read_set)
        self.assertEqual(facts["etag"]["algorithm"], "FASTQ_SHA256up")
        self.assertEqual(facts["etag"]["source1"], hashlib.sha256(content).hexdigest())
        source = facts["files"]["source1"]["s3Access"]["s3Uri"].removeprefix("s3://").split("/", 1)
        tags = self.s3.get_object_tagging(Bucket=source[0], Key=source[1])["TagSet"]
        tags = {tag["Key"]: tag["Value"] for tag in tags}
        self.assertEqual(tags, {
            "omics:subjectId": "subject", "omics:sampleId": "sample",
            "omics:readSetStatus": "ACTIVE", "project": "p",
        })

    def test_a_store_is_updated_by_name_and_description_only(self):
        store = self.store("before")
        self.omics.update_sequence_store(id=store, name="after", description="d")
        found = self.omics.get_sequence_store(id=store)
        self.assertEqual((found["name"], found["description"]), ("after", "d"))

    def test_a_store_with_read_sets_stays(self):
        store = self.store("full")
        read_set = self.upload(store)
        self.refused("ConflictException", 409, self.omics.delete_sequence_store, id=store)
        self.omics.get_read_set_metadata(sequenceStoreId=store, id=read_set)
        gone = self.omics.batch_delete_read_set(sequenceStoreId=store, ids=[read_set, "9999999999"])
        self.assertEqual([error["id"] for error in gone["errors"]], ["9999999999"])
        self.assertEqual(gone["errors"][0]["code"], "ResourceNotFoundException")

        def deleted():
            try:
                self.omics.delete_sequence_store(id=store)
                return True
            except ClientError as error:
                if error.response["Error"]["Code"] != "ConflictException":
                    raise
                return None

        wait_for(deleted, seconds=30)
        self.refused("ResourceNotFoundException", 404, self.omics.get_sequence_store, id=store)
        self.refused("ResourceNotFoundException", 404, self.omics.list_read_sets,
                     sequenceStoreId=store)

    def test_what_is_not_there(self):
        store = self.store("empty")
        nothing = "9999999999"
        call = self.omics
        for method, arguments in (
            (call.get_sequence_store, {"id": nothing}),
            (call.get_read_set_metadata, {"sequenceStoreId": store, "id": nothing}),
            (call.get_read_set, {"sequenceStoreId": store, "id": nothing, "partNumber": 1}),
            (call.get_read_set_import_job, {"sequenceStoreId": store, "id": nothing}),
            (call.get_reference_store, {"id": nothing}),
            (call.upload_read_set_part, {
                "sequenceStoreId": store, "uploadId": nothing, "partSource": "SOURCE1",
                "partNumber": 1, "payload": b"x"}),
            (call.abort_multipart_read_set_upload, {"sequenceStoreId": store, "uploadId": nothing}),
            (call.get_workflow, {"id": "9999999"}), (call.get_run, {"id": "9999999"}),
            (call.cancel_run, {"id": "9999999"}), (call.delete_workflow, {"id": "9999999"}),
        ):
            with self.subTest(method.__name__):
                self.refused("ResourceNotFoundException", 404, method, **arguments)

    def test_paginators_over_more_than_a_page(self):
        before = {s["id"] for page in self.omics.get_paginator("list_sequence_stores").paginate()
                  for s in page["sequenceStores"]}
        made = {self.store(f"many{n:03}") for n in range(130)}
        for size in (None, 7, 100):
            config = {"PageSize": size} if size else {}
            pages = list(
                self.omics.get_paginator("list_sequence_stores").paginate(PaginationConfig=config)
            )
            ids = [s["id"] for page in pages for s in page["sequenceStores"]]
            self.assertEqual(len(ids), len(set(ids)))
            self.assertEqual(set(ids) - before, made)
            self.assertTrue(all(len(p["sequenceStores"]) <= (size or 100) for p in pages))
        one = self.omics.list_sequence_stores(filter={"name": "many007"})["sequenceStores"]
        self.assertEqual([s["name"] for s in one], ["many007"])
        self.refused("ValidationException", 400, self.omics.list_sequence_stores, nextToken="forged")
        token = self.omics.list_sequence_stores(maxResults=1)["nextToken"]
        # A token is for the list that gave it.
        self.refused("ValidationException", 400, self.omics.list_sequence_stores, nextToken=token,
                     filter={"name": "many007"})
        self.refused("ValidationException", 400, self.omics.list_reference_stores, nextToken=token)

    def test_sizes_of_pages_are_bounded(self):
        for size in (0, 101):
            with self.assertRaises((ParamValidationError, ClientError)):
                self.omics.list_sequence_stores(maxResults=size)

    def test_tags(self):
        made = self.omics.create_sequence_store(name="tags", tags={"a": "1"})
        store, arn = made["id"], made["arn"]
        read_set = self.upload(store, tags={"r": "1"})
        read_set_arn = self.omics.get_read_set_metadata(sequenceStoreId=store, id=read_set)["arn"]
        for resource, first in ((arn, {"a": "1"}), (read_set_arn, {"r": "1"})):
            with self.subTest(resource):
                tags = lambda: self.omics.list_tags_for_resource(resourceArn=resource)["tags"]
                self.assertEqual(tags(), first)
                self.omics.tag_resource(resourceArn=resource, tags={"b c/é": "2", "a": "3"})
                self.assertEqual(tags(), {**first, "b c/é": "2", "a": "3"})
                self.omics.untag_resource(resourceArn=resource, tagKeys=["b c/é", "absent"])
                self.assertEqual(tags(), {**first, "a": "3"})
                self.refused("ValidationException", 400, self.omics.tag_resource,
                             resourceArn=resource, tags={"aws:x": "1"})
                many = {f"k{n}": "v" for n in range(51)}
                self.refused("ValidationException", 400, self.omics.tag_resource,
                             resourceArn=resource, tags=many)
                self.assertEqual(tags(), {**first, "a": "3"})
        self.refused("ResourceNotFoundException", 404, self.omics.list_tags_for_resource,
                     resourceArn=arn.rsplit("/", 1)[0] + "/9999999999")

    def test_idempotency_tokens(self):
        token = str(uuid.uuid4())
        first = self.omics.create_sequence_store(name="once", clientToken=token)
        again = self.omics.create_sequence_store(name="once", clientToken=token)
        self.assertEqual(first["id"], again["id"])
        with self.assertRaises(ClientError) as caught:
            self.omics.create_sequence_store(name="other", clientToken=token)
        self.assertIn(caught.exception.response["Error"]["Code"],
                      ("ConflictException", "ValidationException"))
        store = first["id"]
        token = str(uuid.uuid4())
        one = self.begin(store, clientToken=token)["uploadId"]
        self.assertEqual(self.begin(store, clientToken=token)["uploadId"], one)
        self.s3.put_object(Bucket="drop", Key="once.fastq", Body=fastq(2))
        token = str(uuid.uuid4())
        start = lambda: self.omics.start_read_set_import_job(
            sequenceStoreId=store, roleArn=self.role, clientToken=token,
            sources=[self.source("once.fastq")],
        )["id"]
        self.assertEqual(start(), start())
        jobs = self.omics.list_read_set_import_jobs(sequenceStoreId=store)["importJobs"]
        self.assertEqual(len(jobs), 1)
        # Tokens outlive the server.
        token = str(uuid.uuid4())
        kept = self.omics.create_sequence_store(name="kept", clientToken=token)["id"]
        self.vault.kill()
        self.vault.start()
        again = self.omics.create_sequence_store(name="kept", clientToken=token)["id"]
        self.assertEqual(kept, again)


class ReadSets(Storage):
    def test_lists_and_their_filters(self):
        store = self.store("filters")
        plain = self.upload(store, fastq(2), name="one", sampleId="s1", subjectId="p1")
        pair = self.upload(store, fastq(2), fastq(2), name="two", sampleId="s2", subjectId="p1",
                           generatedFrom="machine")
        self.s3.put_object(Bucket="drop", Key="three.fastq.gz", Body=gzip.compress(fastq(2, 3)))
        job = self.omics.start_read_set_import_job(
            sequenceStoreId=store, roleArn=self.role,
            sources=[self.source("three.fastq.gz", name="three", sampleId="s3", subjectId="p2")],
        )["id"]
        self.omics.get_waiter("read_set_import_job_completed").wait(
            sequenceStoreId=store, id=job, WaiterConfig=QUICK
        )
        imported = self.omics.get_read_set_import_job(sequenceStoreId=store, id=job)
        three = imported["sources"][0]["readSetId"]

        def ids(**filters):
            found = self.omics.list_read_sets(sequenceStoreId=store, filter=filters)["readSets"]
            return {item["id"] for item in found}

        self.assertEqual(ids(), {plain, pair, three})
        self.assertEqual(ids(name="one"), {plain})
        self.assertEqual(ids(sampleId="s2"), {pair})
        self.assertEqual(ids(subjectId="p1"), {plain, pair})
        self.assertEqual(ids(subjectId="p1", sampleId="s1"), {plain})
        self.assertEqual(ids(generatedFrom="machine"), {pair})
        self.assertEqual(ids(creationType="IMPORT"), {three})
        self.assertEqual(ids(status="ACTIVE"), {plain, pair, three})
        self.assertEqual(ids(status="UPLOAD_FAILED"), set())
        self.assertEqual(ids(referenceArn=""), {plain, pair, three})
        self.assertEqual(ids(createdAfter="2100-01-01T00:00:00Z"), set())
        self.assertEqual(ids(createdBefore="2100-01-01T00:00:00Z"), {plain, pair, three})
        self.assertEqual(ids(name="on"), set())
        metadata = self.omics.get_read_set_metadata(sequenceStoreId=store, id=three)
        self.assertEqual((metadata["creationType"], metadata["creationJobId"]), ("IMPORT", job))
        self.assertTrue(
            metadata["files"]["source1"]["s3Access"]["s3Uri"].endswith(f"/{three}/three.fastq.gz")
        )
        # Absent members are left out, and a list has no files.
        self.assertNotIn("description", metadata)
        item = self.omics.list_read_sets(sequenceStoreId=store)["readSets"][0]
        self.assertNotIn("files", item)
        self.assertIn("sequenceInformation", item)

    def test_paginators_over_more_than_a_page(self):
        store = self.store("pages")
        content = fastq(1)
        for number in range(105):
            upload = self.begin(store, name=f"n{number:03}")["uploadId"]
            checksum = self.omics.upload_read_set_part(
                sequenceStoreId=store, uploadId=upload, partSource="SOURCE1", partNumber=1,
                payload=content,
            )["checksum"]
            if number < 3:
                continue
            self.omics.complete_multipart_read_set_upload(
                sequenceStoreId=store, uploadId=upload,
                parts=[{"partNumber": 1, "partSource": "SOURCE1", "checksum": checksum}],
            )

        def names(size=None, **filters):
            pages = self.omics.get_paginator("list_read_sets").paginate(
                sequenceStoreId=store, filter=filters,
                PaginationConfig={"PageSize": size} if size else {},
            )
            return [item["name"] for page in pages for item in page["readSets"]]

        expected = [f"n{number:03}" for number in range(3, 105)]
        self.assertEqual(sorted(names()), expected)
        self.assertEqual(sorted(names(10)), expected)
        self.assertEqual(names(10, name="n050"), ["n050"])
        pages = self.omics.get_paginator("list_multipart_read_set_uploads").paginate(
            sequenceStoreId=store, PaginationConfig={"PageSize": 2}
        )
        uploads = [item["name"] for page in pages for item in page["uploads"]]
        self.assertEqual(sorted(uploads), ["n000", "n001", "n002"])

    def test_uploads_in_parts(self):
        store = self.store("parts")
        content = fastq(40_000)
        made = self.begin(store, description="d", tags={"a": "b"})
        self.assertNotIn("generatedFrom", made)
        upload = made["uploadId"]
        size = 100_000
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        sums = {}
        for number, piece in reversed(list(enumerate(pieces, 1))):
            if number == 2:
                # A number that is sent again replaces what it held.
                self.omics.upload_read_set_part(
                    sequenceStoreId=store, uploadId=upload, partSource="SOURCE1", partNumber=2,
                    payload=b"rubbish",
                )
            sums[number] = self.omics.upload_read_set_part(
                sequenceStoreId=store, uploadId=upload, partSource="SOURCE1", partNumber=number,
                payload=piece,
            )["checksum"]
            digest = base64.b64encode(hashlib.sha256(piece).digest()).decode()
            self.assertEqual(sums[number], digest)
        pages = self.omics.get_paginator("list_read_set_upload_parts").paginate(
            sequenceStoreId=store, uploadId=upload, partSource="SOURCE1",
            PaginationConfig={"PageSize": 5},
        )
        listed = [part for page in pages for part in page["parts"]]
        self.assertEqual([p["partNumber"] for p in listed], list(range(1, len(pieces) + 1)))
        self.assertEqual([p["partSize"] for p in listed], [len(piece) for piece in pieces])
        parts = [{"partNumber": n, "partSource": "SOURCE1", "checksum": sums[n]} for n in sorted(sums)]
        read_set = self.omics.complete_multipart_read_set_upload(
            sequenceStoreId=store, uploadId=upload, parts=parts
        )["readSetId"]
        again = self.omics.complete_multipart_read_set_upload(
            sequenceStoreId=store, uploadId=upload, parts=parts
        )["readSetId"]
        self.assertEqual(read_set, again, "Complete that is sent again")
        found = self.settled(store, read_set)
        self.assertEqual(found["sequenceInformation"]["totalReadCount"], 40_000)
        self.assertEqual(found["sequenceInformation"]["totalBaseCount"], 320_000)
        self.assertEqual(found["etag"]["source1"], hashlib.md5(content).hexdigest())
        uploads = self.omics.list_multipart_read_set_uploads(sequenceStoreId=store)["uploads"]
        self.assertEqual(uploads, [])

    def test_an_aborted_upload_is_gone(self):
        store = self.store("abort")
        upload = self.begin(store)["uploadId"]
        self.omics.upload_read_set_part(
            sequenceStoreId=store, uploadId=upload, partSource="SOURCE1", partNumber=1, payload=b"x"
        )
        self.omics.abort_multipart_read_set_upload(sequenceStoreId=store, uploadId=upload)
        self.refused("ResourceNotFoundException", 404, self.omics.list_read_set_upload_parts,
                     sequenceStoreId=store, uploadId=upload, partSource="SOURCE1")
        self.assertEqual(
            self.omics.list_multipart_read_set_uploads(sequenceStoreId=store)["uploads"], []
        )

    def test_deleted_read_sets_can_not_be_read(self):
        store = self.store("delete")
        read_set = self.upload(store)
        facts = self.omics.get_read_set_metadata(sequenceStoreId=store, id=read_set)
        bucket, key = facts["files"]["source1"]["s3Access"]["s3Uri"].removeprefix("s3://").split("/", 1)
        self.s3.head_object(Bucket=bucket, Key=key)
        gone = self.omics.batch_delete_read_set(sequenceStoreId=store, ids=[read_set])
        self.assertEqual(gone.get("errors", []), [])
        with self.assertRaises(ClientError):
            self.omics.get_read_set(sequenceStoreId=store, id=read_set, partNumber=1)
        with self.assertRaises(ClientError):
            self.s3.get_object(Bucket=bucket, Key=key)
        self.assertEqual(self.omics.list_read_sets(sequenceStoreId=store, filter={"status": "ACTIVE"})
                         ["readSets"], [])

    def test_the_alias_is_read_only(self):
        store = self.store("alias")
        read_set = self.upload(store)
        facts = self.omics.get_read_set_metadata(sequenceStoreId=store, id=read_set)
        bucket, key = facts["files"]["source1"]["s3Access"]["s3Uri"].removeprefix("s3://").split("/", 1)
        self.refused("AccessDenied", 403, self.s3.put_object, Bucket=bucket, Key=key, Body=b"x")
        self.refused("AccessDenied", 403, self.s3.put_object, Bucket=bucket, Key="new", Body=b"x")
        self.refused("AccessDenied", 403, self.s3.delete_object, Bucket=bucket, Key=key)
        self.refused("AccessDenied", 403, self.s3.create_multipart_upload, Bucket=bucket, Key=key)
        self.refused("AccessDenied", 403, self.s3.copy_object, Bucket=bucket, Key="new",
                     CopySource={"Bucket": bucket, "Key": key})
        outcome = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})
        self.assertEqual([error["Code"] for error in outcome["Errors"]], ["AccessDenied"])
        with self.assertRaises(ClientError):
            self.s3.delete_bucket(Bucket=bucket)
        self.s3.copy_object(Bucket="drop", Key="copy", CopySource={"Bucket": bucket, "Key": key})
        copied = self.s3.get_object(Bucket="drop", Key="copy")["Body"].read()
        self.assertEqual(copied, fastq(3))
        listed = self.s3.list_objects_v2(Bucket=bucket)["Contents"]
        self.assertEqual([item["Key"] for item in listed], [key])
        folders = self.s3.list_objects_v2(Bucket=bucket, Delimiter="/")["CommonPrefixes"]
        self.assertEqual([item["Prefix"] for item in folders], [f"{self.account}/"])


class Jobs(Storage):
    def test_one_bad_source_does_not_fail_its_job(self):
        store = self.store("mixed")
        self.s3.put_object(Bucket="drop", Key="good.fastq", Body=fastq(5))
        self.s3.put_object(Bucket="drop", Key="bad.fastq", Body=fastq(5)[:-4])
        job = self.omics.start_read_set_import_job(
            sequenceStoreId=store, roleArn=self.role,
            sources=[self.source("good.fastq", name="good"), self.source("bad.fastq", name="bad"),
                     self.source("absent.fastq", name="absent")],
        )["id"]
        # SDKs take a job with failures for a failed one.
        with self.assertRaises(WaiterError):
            self.omics.get_waiter("read_set_import_job_completed").wait(
                sequenceStoreId=store, id=job, WaiterConfig=QUICK
            )
        found = self.omics.get_read_set_import_job(sequenceStoreId=store, id=job)
        self.assertEqual(found["status"], "COMPLETED_WITH_FAILURES")
        self.assertIn("completionTime", found)
        by_name = {item["name"]: item for item in found["sources"]}
        self.assertEqual(by_name["good"]["status"], "FINISHED")
        for name in ("bad", "absent"):
            self.assertEqual(by_name[name]["status"], "FAILED")
            self.assertTrue(by_name[name]["statusMessage"])
        good = self.omics.get_read_set_metadata(
            sequenceStoreId=store, id=by_name["good"]["readSetId"]
        )
        self.assertEqual(good["status"], "ACTIVE")
        listed = self.omics.list_read_set_import_jobs(
            sequenceStoreId=store, filter={"status": "COMPLETED_WITH_FAILURES"}
        )["importJobs"]
        self.assertEqual([item["id"] for item in listed], [job])
        none = self.omics.list_read_set_import_jobs(sequenceStoreId=store, filter={"status": "FAILED"})
        self.assertEqual(none["importJobs"], [])

    def test_a_job_goes_on_after_a_kill(self):
        store = self.store("killed")
        sources = []
        for number in range(20):
            self.s3.put_object(Bucket="drop", Key=f"k{number}.fastq", Body=fastq(20_000, number))
            sources.append(self.source(f"k{number}.fastq", name=f"k{number}"))
        job = self.omics.start_read_set_import_job(
            sequenceStoreId=store, roleArn=self.role, sources=sources
        )["id"]
        self.vault.kill()
        self.vault.start()
        self.omics.get_waiter("read_set_import_job_completed").wait(
            sequenceStoreId=store, id=job, WaiterConfig=QUICK
        )
        found = self.omics.get_read_set_import_job(sequenceStoreId=store, id=job)
        ids = {item["readSetId"] for item in found["sources"]}
        listed = self.omics.list_read_sets(sequenceStoreId=store)["readSets"]
        self.assertEqual({item["id"] for item in listed}, ids, "a read set was made twice or lost")
        self.assertEqual(len(ids), 20)

    def stored(self):
        """Bytes of all packs."""
        return sum(path.stat().st_size for path in (self.vault.data / "packs").glob("*.pack"))

    def imported(self, store, bucket, text):
        """Imports an object from `bucket`; the read set's bytes, and by how much the packs grew."""
        self.s3.put_object(Bucket=bucket, Key="reads.fastq", Body=text)
        before = self.stored()
        source = self.source("x", sourceFiles={"source1": f"s3://{bucket}/reads.fastq"})
        job = self.omics.start_read_set_import_job(
            sequenceStoreId=store, roleArn=self.role, sources=[source]
        )["id"]
        self.omics.get_waiter("read_set_import_job_completed").wait(
            sequenceStoreId=store, id=job, WaiterConfig=QUICK
        )
        found = self.omics.get_read_set_import_job(sequenceStoreId=store, id=job)
        answer = self.omics.get_read_set(
            sequenceStoreId=store, id=found["sources"][0]["readSetId"], partNumber=1
        )
        return answer["payload"].read(), self.stored() - before

    def test_an_import_from_a_drop_bucket_moves_no_data(self):
        store = self.store("dropped")
        tags = {"Tags": [{"Key": "readvault:dropOf", "Value": store}]}
        self.s3.create_bucket(Bucket="dropped", CreateBucketConfiguration=tags)
        dropped, plain = fastq(60_000, 1), fastq(60_000, 2)
        found, grown = self.imported(store, "dropped", dropped)
        self.assertEqual(found, dropped)
        self.assertLess(grown, len(dropped) // 20)
        # The read set does not need the object any more.
        self.s3.delete_object(Bucket="dropped", Key="reads.fastq")
        found, grown = self.imported(store, "drop", plain)
        self.assertEqual(found, plain)
        self.assertGreater(grown, len(plain) // 2, "an import from any other bucket does")
        absent = {"Tags": [{"Key": "readvault:dropOf", "Value": "9999999999"}]}
        with self.assertRaises(ClientError):
            self.s3.create_bucket(Bucket="nowhere", CreateBucketConfiguration=absent)

    def test_sources_are_checked_at_the_start(self):
        store = self.store("checks")
        start = self.omics.start_read_set_import_job
        for label, source in {
            "no uri": {"sourceFiles": {"source1": "drop/x"}},
            "no key": {"sourceFiles": {"source1": "s3://drop"}},
            "two files of a BAM": {
                "sourceFiles": {"source1": "s3://drop/a", "source2": "s3://drop/b"},
                "sourceFileType": "BAM"},
            "newline in a name": {"name": "a\nb"},
            "tag of aws": {"tags": {"aws:x": "y"}},
        }.items():
            with self.subTest(label):
                self.refused("ValidationException", 400, start, sequenceStoreId=store,
                             roleArn=self.role, sources=[{**self.source("x"), **source}])
        with self.assertRaises(ClientError):
            start(sequenceStoreId=store, sources=[self.source("x")],
                  roleArn=f"arn:aws:iam::{self.account}:role/nobody")

    def test_a_reference_is_imported_and_read(self):
        self.s3.put_object(Bucket="drop", Key="ref.fa", Body=FASTA)
        store = self.omics.create_reference_store(name="references")["id"]
        job = self.omics.start_reference_import_job(
            referenceStoreId=store, roleArn=self.role,
            sources=[{"sourceFile": "s3://drop/ref.fa", "name": "small", "tags": {"a": "b"}}],
        )["id"]
        self.omics.get_waiter("reference_import_job_completed").wait(
            referenceStoreId=store, id=job, WaiterConfig=QUICK
        )
        found = self.omics.get_reference_import_job(referenceStoreId=store, id=job)
        reference = found["sources"][0]["referenceId"]
        facts = self.omics.get_reference_metadata(referenceStoreId=store, id=reference)
        self.assertEqual(facts["md5"], hashlib.md5(FASTA).hexdigest())
        self.assertEqual(facts["status"], "ACTIVE")
        self.assertEqual(facts["files"]["source"]["contentLength"], len(FASTA))
        get = lambda **more: self.omics.get_reference(
            referenceStoreId=store, id=reference, partNumber=1, **more
        )["payload"].read()
        self.assertEqual(get(), FASTA)
        self.assertEqual(get(file="SOURCE", range="bytes=6-15"), FASTA[6:16])
        index = get(file="INDEX").decode()
        self.assertEqual([line.split("\t")[:2] for line in index.splitlines()],
                         [["chr1", "1000"], ["chr2", "500"]])
        listed = self.omics.list_references(referenceStoreId=store, filter={"name": "small"})
        self.assertEqual([item["id"] for item in listed["references"]], [reference])
        self.assertEqual(
            self.omics.list_tags_for_resource(resourceArn=facts["arn"])["tags"], {"a": "b"}
        )
        self.refused("ConflictException", 409, self.omics.delete_reference_store, id=store)
        self.aligned(facts["arn"])
        self.s3.put_object(Bucket="drop", Key="bad.fa", Body=b"no FASTA at all\n")
        job = self.omics.start_reference_import_job(
            referenceStoreId=store, roleArn=self.role,
            sources=[{"sourceFile": "s3://drop/bad.fa", "name": "bad"}],
        )["id"]
        with self.assertRaises(WaiterError):
            self.omics.get_waiter("reference_import_job_completed").wait(
                referenceStoreId=store, id=job, WaiterConfig=QUICK
            )
        item = self.omics.get_reference_import_job(referenceStoreId=store, id=job)["sources"][0]
        self.assertEqual(item["status"], "FAILED")
        self.assertTrue(item["statusMessage"])

    def aligned(self, reference):
        """What is said to be aligned to a reference must agree with it."""
        if not shutil.which("samtools"):
            print("samtools is not there: alignments are not tried", flush=True)
            return
        store = self.store("aligned")

        def bam(*sequences):
            header = "@HD\tVN:1.6\tSO:coordinate\n"
            header += "".join(f"@SQ\tSN:{name}\tLN:{length}\n" for name, length in sequences)
            sam = header + "r1\t0\tchr1\t1\t60\t8M\t*\t0\t0\tACGTACGT\tIIIIIIII\n"
            done = subprocess.run(["samtools", "view", "-b", "--no-PG", "-"], input=sam.encode(),
                                  capture_output=True, check=True)
            return done.stdout

        right = bam(("chr1", 1000), ("chr2", 500))
        read_set = self.upload(store, right, sourceFileType="BAM", referenceArn=reference)
        facts = self.omics.get_read_set_metadata(sequenceStoreId=store, id=read_set)
        self.assertEqual(facts["referenceArn"], reference)
        self.assertEqual(facts["sequenceInformation"]["alignment"], "ALIGNED")
        self.assertIn("index", facts["files"])
        found = self.omics.list_read_sets(sequenceStoreId=store, filter={"referenceArn": reference})
        self.assertEqual([item["id"] for item in found["readSets"]], [read_set])
        wrong = bam(("chr1", 999), ("chr2", 500))
        upload = self.begin(store, sourceFileType="BAM", referenceArn=reference)["uploadId"]
        checksum = self.omics.upload_read_set_part(
            sequenceStoreId=store, uploadId=upload, partSource="SOURCE1", partNumber=1, payload=wrong
        )["checksum"]
        failed = self.omics.complete_multipart_read_set_upload(
            sequenceStoreId=store, uploadId=upload,
            parts=[{"partNumber": 1, "partSource": "SOURCE1", "checksum": checksum}],
        )["readSetId"]
        facts = self.settled(store, failed)
        self.assertEqual(facts["status"], "UPLOAD_FAILED")
        self.assertIn("chr1", facts["statusMessage"])
        self.refused("ConflictException", 409, self.omics.delete_reference,
                     referenceStoreId=reference.split("/")[1], id=reference.rsplit("/", 1)[1])


class Workflows(Storage):
    def zip(self, text):
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("main.wdl", text)
        return target.getvalue()

    def test_a_workflow_becomes_active_within_its_waiter(self):
        text = (
            "version 1.0\nworkflow w {\n  input { String who  Int n = 1 }\n"
            "  call t { input: who = who }\n}\n"
            "task t { input { String who } command { echo ~{who} } output { String o = stdout() } "
            "runtime { docker: \"tools\" } }\n"
        )
        content = self.zip(text)
        token = str(uuid.uuid4())
        make = lambda: self.omics.create_workflow(
            name="w", definitionZip=content, engine="WDL", requestId=token, tags={"a": "b"}
        )["id"]
        workflow = make()
        self.assertEqual(make(), workflow)
        self.omics.get_waiter("workflow_active").wait(id=workflow, WaiterConfig=QUICK)
        found = self.omics.get_workflow(id=workflow)
        self.assertEqual(found["engine"], "WDL")
        self.assertRegex(found["digest"], r"^[0-9a-f]{64}$")
        optional = {name: bool(p.get("optional")) for name, p in found["parameterTemplate"].items()}
        self.assertEqual(optional, {"who": False, "n": True})
        self.assertEqual([w["id"] for w in self.omics.list_workflows(name="w")["items"]], [workflow])
        bad = self.omics.create_workflow(
            name="bad", definitionZip=self.zip("version 1.0\nworkflow {"), engine="WDL"
        )["id"]
        with self.assertRaises(WaiterError):
            self.omics.get_waiter("workflow_active").wait(id=bad, WaiterConfig=QUICK)
        self.assertTrue(self.omics.get_workflow(id=bad)["statusMessage"])
        self.omics.delete_workflow(id=workflow)

    def test_lists_of_more_than_a_page(self):
        content = self.zip("version 1.0\nworkflow w { }\n")
        made = {
            self.omics.create_workflow(name=f"many{n}", definitionZip=content, engine="WDL")["id"]
            for n in range(103)
        }
        for size in (None, 10):
            pages = list(self.omics.get_paginator("list_workflows").paginate(
                PaginationConfig={"PageSize": size} if size else {}
            ))
            ids = [item["id"] for page in pages for item in page["items"]]
            self.assertEqual(len(ids), len(set(ids)))
            self.assertLessEqual(made, set(ids))
            for page in pages:
                self.assertLessEqual(len(page.get("nextToken", "")), 128)
        self.refused("ValidationException", 400, self.omics.list_workflows, startingToken="forged")


class Cli(Storage):
    def aws(self, *words):
        done = self.vault.run("aws", "omics", *words)
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def test_the_upload_path(self):
        one, two = self.folder / "R1.fastq.gz", self.folder / "R2.fastq.gz"
        one.write_bytes(gzip.compress(fastq(1000)))
        two.write_bytes(gzip.compress(fastq(1000)))
        store = self.aws("create-sequence-store", "--name", "cli")["id"]
        upload = self.aws(
            "create-multipart-read-set-upload", "--sequence-store-id", store, "--source-file-type",
            "FASTQ", "--subject-id", "subject", "--sample-id", "sample", "--name", "pair",
            "--tags", "project=demo",
        )["uploadId"]
        parts = []
        for source, path in (("SOURCE1", one), ("SOURCE2", two)):
            checksum = self.aws(
                "upload-read-set-part", "--sequence-store-id", store, "--upload-id", upload,
                "--part-source", source, "--part-number", "1", "--payload", path,
            )["checksum"]
            parts.append({"partNumber": 1, "partSource": source, "checksum": checksum})
            listed = self.aws(
                "list-read-set-upload-parts", "--sequence-store-id", store, "--upload-id", upload,
                "--part-source", source,
            )["parts"]
            self.assertEqual([part["checksum"] for part in listed], [checksum])
        uploads = self.aws("list-multipart-read-set-uploads", "--sequence-store-id", store)["uploads"]
        self.assertEqual([item["uploadId"] for item in uploads], [upload])
        read_set = self.aws(
            "complete-multipart-read-set-upload", "--sequence-store-id", store, "--upload-id", upload,
            "--parts", json.dumps(parts),
        )["readSetId"]
        self.settled(store, read_set)
        facts = self.aws("get-read-set-metadata", "--sequence-store-id", store, "--id", read_set)
        self.assertEqual(facts["status"], "ACTIVE")
        self.assertEqual(facts["sequenceInformation"]["totalReadCount"], 2000)
        for file, path in (("SOURCE1", one), ("SOURCE2", two)):
            target = self.folder / "out"
            self.vault.run("aws", "omics", "get-read-set", "--sequence-store-id", store, "--id",
                           read_set, "--file", file, "--part-number", "1", target)
            self.assertEqual(target.read_bytes(), path.read_bytes())
        listed = self.aws("list-read-sets", "--sequence-store-id", store, "--filter", "sampleId=sample")
        self.assertEqual([item["id"] for item in listed["readSets"]], [read_set])
        uri = facts["files"]["source1"]["s3Access"]["s3Uri"]
        self.vault.run("aws", "s3", "cp", uri, self.folder / "by-s3")
        self.assertEqual((self.folder / "by-s3").read_bytes(), one.read_bytes())
        names = self.vault.run("aws", "s3", "ls", uri.rsplit("/", 1)[0] + "/").stdout
        self.assertIn(uri.rsplit("/", 1)[1], names)

    def test_import_and_wait(self):
        path = self.folder / "import.fastq"
        path.write_bytes(fastq(100))
        self.vault.run("aws", "s3", "cp", path, "s3://drop/cli/import.fastq")
        store = self.aws("create-sequence-store", "--name", "cli-import")["id"]
        sources = json.dumps([self.source("cli/import.fastq")])
        job = self.aws("start-read-set-import-job", "--sequence-store-id", store, "--role-arn",
                       self.role, "--sources", sources)["id"]
        wait_for(lambda: self.aws("get-read-set-import-job", "--sequence-store-id", store, "--id", job)
                 ["status"] == "COMPLETED" or None, seconds=60)
        self.vault.run("aws", "omics", "wait", "read-set-import-job-completed",
                       "--sequence-store-id", store, "--id", job)
        found = self.aws("get-read-set-import-job", "--sequence-store-id", store, "--id", job)
        target = self.folder / "imported"
        self.vault.run("aws", "omics", "get-read-set", "--sequence-store-id", store, "--id",
                       found["sources"][0]["readSetId"], "--part-number", "1", target)
        self.assertEqual(target.read_bytes(), path.read_bytes())

    def test_who_am_i(self):
        done = self.vault.run("aws", "sts", "get-caller-identity")
        self.assertEqual(json.loads(done.stdout)["Account"], self.account)

    def test_errors_are_told_by_name(self):
        done = self.vault.run("aws", "omics", "get-sequence-store", "--id", "9999999999", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("ResourceNotFoundException", done.stderr)


if __name__ == "__main__":
    unittest.main()
