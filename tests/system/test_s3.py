"""S3 with boto3 and aws cli over a real server."""

import hashlib
import os
import pathlib
import tempfile
import unittest

from botocore.exceptions import ClientError

from vault import VaultCase


class S3(VaultCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3.create_bucket(Bucket="bucket")

    def refused(self, code, call, **arguments):
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)

    def test_bytes_of_every_size_come_back(self):
        sizes = [0, 1, 4096, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 5_000_003]
        for size in sizes:
            body = os.urandom(size)
            key = f"sizes/{size}"
            self.s3.put_object(Bucket="bucket", Key=key, Body=body)
            got = self.s3.get_object(Bucket="bucket", Key=key)
            self.assertEqual(got["ContentLength"], size)
            self.assertEqual(got["Body"].read(), body, f"{size} bytes")

    def test_ranges_are_exact(self):
        body = os.urandom(3 * (1 << 20) + 17)
        self.s3.put_object(Bucket="bucket", Key="ranges", Body=body)
        edges = [0, 1, 65535, 65536, 65537, 1048575, 1048576, 1048577, len(body) - 1]
        for start in edges:
            for end in edges:
                if start <= end:
                    got = self.s3.get_object(
                        Bucket="bucket", Key="ranges", Range=f"bytes={start}-{end}"
                    )
                    self.assertEqual(got["Body"].read(), body[start : end + 1], (start, end))
        tail = self.s3.get_object(Bucket="bucket", Key="ranges", Range="bytes=-100")
        self.assertEqual(tail["Body"].read(), body[-100:])
        beyond = self.s3.get_object(Bucket="bucket", Key="ranges", Range="bytes=10-99999999")
        self.assertEqual(beyond["Body"].read(), body[10:])
        self.refused(
            "InvalidRange", self.s3.get_object, Bucket="bucket", Key="ranges",
            Range="bytes=99999999-",
        )

    def test_etags_follow_the_rule(self):
        small, large = os.urandom(1000), os.urandom(2 << 20)
        etag = self.s3.put_object(Bucket="bucket", Key="small", Body=small)["ETag"]
        self.assertEqual(etag.strip('"'), hashlib.md5(small).hexdigest())
        etag = self.s3.put_object(Bucket="bucket", Key="large", Body=large)["ETag"]
        self.assertRegex(etag, r'^"[0-9a-f]{32}-1"$')
        self.assertEqual(self.s3.head_object(Bucket="bucket", Key="large")["ETag"], etag)

    def test_multipart(self):
        parts = [os.urandom(5 << 20), os.urandom(5 << 20), os.urandom(7)]
        upload = self.s3.create_multipart_upload(Bucket="bucket", Key="multi")["UploadId"]
        listed = []
        for number, part in reversed(list(enumerate(parts, 1))):
            etag = self.s3.upload_part(
                Bucket="bucket", Key="multi", UploadId=upload, PartNumber=number, Body=part
            )["ETag"]
            listed.insert(0, {"PartNumber": number, "ETag": etag})
        wrong = [listed[1], listed[0], listed[2]]
        self.refused(
            "InvalidPartOrder", self.s3.complete_multipart_upload, Bucket="bucket", Key="multi",
            UploadId=upload, MultipartUpload={"Parts": wrong},
        )
        absent = [*listed[:2], {"PartNumber": 9, "ETag": '"00"'}]
        self.refused(
            "InvalidPart", self.s3.complete_multipart_upload, Bucket="bucket", Key="multi",
            UploadId=upload, MultipartUpload={"Parts": absent},
        )
        self.refused("NoSuchKey", self.s3.get_object, Bucket="bucket", Key="multi")
        self.s3.complete_multipart_upload(
            Bucket="bucket", Key="multi", UploadId=upload, MultipartUpload={"Parts": listed}
        )
        got = self.s3.get_object(Bucket="bucket", Key="multi")
        self.assertEqual(got["Body"].read(), b"".join(parts))
        self.assertTrue(got["ETag"].endswith('-3"'), got["ETag"])

    def test_conditions(self):
        self.s3.put_object(Bucket="bucket", Key="once", Body=b"1", IfNoneMatch="*")
        self.refused(
            "PreconditionFailed", self.s3.put_object, Bucket="bucket", Key="once", Body=b"2",
            IfNoneMatch="*",
        )
        etag = self.s3.head_object(Bucket="bucket", Key="once")["ETag"]
        self.refused(
            "PreconditionFailed", self.s3.get_object, Bucket="bucket", Key="once", IfMatch='"x"'
        )
        self.refused("304", self.s3.get_object, Bucket="bucket", Key="once", IfNoneMatch=etag)
        self.assertEqual(self.s3.get_object(Bucket="bucket", Key="once")["Body"].read(), b"1")

    def test_listing_folds_and_pages(self):
        keys = sorted([f"list/a{n}" for n in range(7)] + [f"list/d{n}/x" for n in range(5)])
        for key in keys:
            self.s3.put_object(Bucket="bucket", Key=key, Body=b"")
        seen, prefixes, token = [], [], {}
        while True:
            page = self.s3.list_objects_v2(
                Bucket="bucket", Prefix="list/", Delimiter="/", MaxKeys=3, **token
            )
            seen += [item["Key"] for item in page.get("Contents", [])]
            prefixes += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
            if not page["IsTruncated"]:
                break
            token = {"ContinuationToken": page["NextContinuationToken"]}
        self.assertEqual(seen, [f"list/a{n}" for n in range(7)])
        self.assertEqual(prefixes, [f"list/d{n}/" for n in range(5)])

    def test_wrong_digests_store_nothing(self):
        self.refused(
            "BadDigest", self.s3.put_object, Bucket="bucket", Key="bad", Body=b"body",
            ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==",
        )
        self.refused(
            "BadDigest", self.s3.put_object, Bucket="bucket", Key="bad", Body=b"body",
            ChecksumSHA256="A" * 43 + "=",
        )
        self.refused("NoSuchKey", self.s3.get_object, Bucket="bucket", Key="bad")

    def test_keys_that_lead_out_are_refused(self):
        for key in ["a/../b", "../x", "./x", "a/./b"]:
            with self.assertRaises(ClientError) as caught:
                self.s3.put_object(Bucket="bucket", Key=key, Body=b"")
            self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 400)

    def test_aws_cli(self):
        with tempfile.TemporaryDirectory() as temporary:
            source = pathlib.Path(temporary) / "in.bin"
            source.write_bytes(os.urandom(20 << 20))
            target = pathlib.Path(temporary) / "out.bin"
            self.vault.run("aws", "s3", "cp", source, "s3://bucket/cli.bin")
            self.vault.run("aws", "s3", "cp", "s3://bucket/cli.bin", target)
            self.assertEqual(source.read_bytes(), target.read_bytes())
            listed = self.vault.run("aws", "s3", "ls", "s3://bucket/").stdout
            self.assertIn("cli.bin", listed)
            self.vault.run("aws", "s3", "mv", "s3://bucket/cli.bin", "s3://bucket/moved.bin")
            self.refused("NoSuchKey", self.s3.get_object, Bucket="bucket", Key="cli.bin")

    def test_a_bucket_with_objects_stays(self):
        self.s3.create_bucket(Bucket="full-one")
        self.s3.put_object(Bucket="full-one", Key="k", Body=b"")
        self.refused("BucketNotEmpty", self.s3.delete_bucket, Bucket="full-one")
        self.s3.delete_object(Bucket="full-one", Key="k")
        self.s3.delete_bucket(Bucket="full-one")
        self.refused("404", self.s3.head_bucket, Bucket="full-one")

    def test_a_second_start_goes_on_where_it_stopped(self):
        body = os.urandom(2_000_000)
        self.s3.put_object(Bucket="bucket", Key="stays", Body=body)
        self.assertEqual(self.vault.stop(), 0)
        self.vault.start()
        got = self.s3.get_object(Bucket="bucket", Key="stays")["Body"].read()
        self.assertEqual(got, body)


if __name__ == "__main__":
    unittest.main()
