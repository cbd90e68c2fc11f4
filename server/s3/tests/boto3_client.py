"""Drives the S3 API with boto3: what people do, and what must be refused.

Usage: boto3_client.py ENDPOINT, with credentials in the environment. Needs the seeded alias bucket of
the test server. Stops at the first thing that is not as it must be.
"""

import base64
import hashlib
import io
import os
import sys
import urllib.error
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

MIB = 1 << 20
ENDPOINT = sys.argv[1]
BUCKET = "boto3-scenario"
ALIAS = "alias-s3alias"
READ_SET = "123456789012/sequenceStore/1000000001/readSet/2000000001"
ARCHIVED = "123456789012/sequenceStore/1000000001/readSet/2000000002"


def client(**config):
    settings = {"s3": {"addressing_style": "path"}, "retries": {"max_attempts": 1}} | config
    return boto3.client(
        "s3", endpoint_url=ENDPOINT, region_name="us-east-1", config=Config(**settings)
    )


s3 = client()


def refused(code, status, call, **arguments):
    """Calls and demands this error."""
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        answered = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert (found, answered) == (code, status), (call, arguments, found, answered, error)
        return error
    raise AssertionError(f"not refused: {call} {arguments}")


def body_of(key, bucket=BUCKET, **arguments):
    return s3.get_object(Bucket=bucket, Key=key, **arguments)["Body"].read()


def pseudo(length, seed=1):
    """Bytes that repeat from run to run."""
    out = bytearray()
    block = hashlib.sha256(str(seed).encode()).digest()
    while len(out) < length:
        block = hashlib.sha256(block).digest()
        out += block * 64
    return bytes(out[:length])


def buckets():
    s3.create_bucket(Bucket=BUCKET)
    refused("BucketAlreadyOwnedByYou", 409, s3.create_bucket, Bucket=BUCKET)
    refused("InvalidBucketName", 400, s3.create_bucket, Bucket="ga4gh")
    refused(
        "IllegalLocationConstraintException", 400, s3.create_bucket, Bucket="elsewhere",
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    )
    head = s3.head_bucket(Bucket=BUCKET)
    assert head["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == "us-east-1"
    refused("404", 404, s3.head_bucket, Bucket="no-such-bucket")
    assert BUCKET in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] is None
    assert "Status" not in s3.get_bucket_versioning(Bucket=BUCKET)
    refused("NoSuchTagSet", 404, s3.get_bucket_tagging, Bucket=BUCKET)
    tags = [{"Key": "a", "Value": "1"}]
    s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket=BUCKET)
    refused("NoSuchTagSet", 404, s3.get_bucket_tagging, Bucket=BUCKET)
    acl = s3.get_bucket_acl(Bucket=BUCKET)
    assert acl["Grants"][0]["Permission"] == "FULL_CONTROL"
    s3.put_bucket_acl(Bucket=BUCKET, ACL="private")
    refused("AccessControlListNotSupported", 400, s3.put_bucket_acl, Bucket=BUCKET, ACL="public-read")
    refused("NotImplemented", 501, s3.get_bucket_website, Bucket=BUCKET)
    refused("AccessDenied", 403, s3.list_objects_v2, Bucket=BUCKET, ExpectedBucketOwner="9" * 12)


def objects():
    small = b"hello"
    put = s3.put_object(
        Bucket=BUCKET, Key="a/hello é+.txt", Body=small, ContentType="text/plain",
        CacheControl="no-store", Metadata={"who": "me"}, Tagging="k=v&x=y%20z",
    )
    assert put["ETag"] == f'"{hashlib.md5(small).hexdigest()}"'
    assert put["ServerSideEncryption"] == "AES256" and put["ChecksumCRC32"]
    got = s3.get_object(Bucket=BUCKET, Key="a/hello é+.txt", ChecksumMode="ENABLED")
    assert got["Body"].read() == small and got["ETag"] == put["ETag"]
    assert got["ContentType"] == "text/plain" and got["CacheControl"] == "no-store"
    assert got["Metadata"] == {"who": "me"} and got["TagCount"] == 2
    assert got["ChecksumCRC32"] == put["ChecksumCRC32"]
    assert got["ChecksumType"] == "FULL_OBJECT" and got["AcceptRanges"] == "bytes"
    override = s3.get_object(
        Bucket=BUCKET, Key="a/hello é+.txt", ResponseContentDisposition="attachment"
    )
    assert override["ContentDisposition"] == "attachment"
    head = s3.head_object(Bucket=BUCKET, Key="a/hello é+.txt")
    assert head["ContentLength"] == 5
    s3.put_object(Bucket=BUCKET, Key="empty", Body=b"")
    assert body_of("empty") == b""
    large = pseudo(3 * MIB + 17)
    put = s3.put_object(Bucket=BUCKET, Key="large", Body=large)
    assert put["ETag"].strip('"').endswith("-1") and len(put["ETag"]) == 36
    assert body_of("large") == large
    md5 = base64.b64encode(hashlib.md5(large).digest()).decode()
    put = s3.put_object(Bucket=BUCKET, Key="large", Body=large, ContentMD5=md5)
    assert put["ETag"] == f'"{hashlib.md5(large).hexdigest()}"'
    for name in ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]:
        try:
            put = s3.put_object(Bucket=BUCKET, Key=name, Body=large, ChecksumAlgorithm=name)
        except Exception as error:  # botocore without the CRT can't compute some of them
            assert "CRT" in str(error) or "crt" in str(error), error
            continue
        assert s3.get_object(Bucket=BUCKET, Key=name, ChecksumMode="ENABLED")["Body"].read() == large
        s3.delete_object(Bucket=BUCKET, Key=name)
    refused("NoSuchKey", 404, s3.get_object, Bucket=BUCKET, Key="absent")
    refused("NoSuchBucket", 404, s3.get_object, Bucket="no-such-bucket", Key="absent")
    refused("NoSuchVersion", 404, s3.get_object, Bucket=BUCKET, Key="large", VersionId="abc")
    assert body_of("large", VersionId="null") == large
    for key in ["a/../b", "./x", "a\\b", "x\ny"]:
        refused("InvalidArgument", 400, s3.put_object, Bucket=BUCKET, Key=key, Body=b"x")
    refused("KeyTooLongError", 400, s3.put_object, Bucket=BUCKET, Key="k" * 1025, Body=b"x")
    refused(
        "MetadataTooLarge", 400, s3.put_object, Bucket=BUCKET, Key="m", Metadata={"m": "x" * 2100}
    )
    refused("InvalidStorageClass", 400, s3.put_object, Bucket=BUCKET, Key="m", StorageClass="GLACIER")
    refused("NotImplemented", 501, s3.put_object, Bucket=BUCKET, Key="m", ServerSideEncryption="aws:kms")
    refused("InvalidTag", 400, s3.put_object, Bucket=BUCKET, Key="m", Tagging="aws:x=y")


def ranges_and_conditions():
    large = pseudo(3 * MIB + 17)
    size = len(large)
    for asked, first, last in [
        ("bytes=0-0", 0, 0), ("bytes=5-1048580", 5, 1048580), (f"bytes={size - 3}-", size - 3, size - 1),
        ("bytes=-7", size - 7, size - 1), (f"bytes=10-{size * 2}", 10, size - 1),
        (f"bytes=-{size * 2}", 0, size - 1),
    ]:
        got = s3.get_object(Bucket=BUCKET, Key="large", Range=asked)
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["ContentRange"] == f"bytes {first}-{last}/{size}", asked
        assert got["Body"].read() == large[first:last + 1], asked
    error = refused("InvalidRange", 416, s3.get_object, Bucket=BUCKET, Key="large", Range=f"bytes={size}-")
    assert error.response["ResponseMetadata"]["HTTPHeaders"]["content-range"] == f"bytes */{size}"
    etag = s3.head_object(Bucket=BUCKET, Key="large")["ETag"]
    modified = s3.head_object(Bucket=BUCKET, Key="large")["LastModified"]
    assert body_of("large", IfMatch=etag, Range="bytes=1-2") == large[1:3]
    refused("PreconditionFailed", 412, s3.get_object, Bucket=BUCKET, Key="large", IfMatch='"x"')
    error = refused("304", 304, s3.get_object, Bucket=BUCKET, Key="large", IfNoneMatch=etag)
    assert error.response["ResponseMetadata"]["HTTPHeaders"]["etag"] == etag
    refused("304", 304, s3.get_object, Bucket=BUCKET, Key="large", IfModifiedSince=modified)
    body_of("large", IfUnmodifiedSince=modified)
    s3.put_object(Bucket=BUCKET, Key="once", Body=b"1", IfNoneMatch="*")
    refused(
        "PreconditionFailed", 412, s3.put_object, Bucket=BUCKET, Key="once", Body=b"2", IfNoneMatch="*"
    )
    assert body_of("once") == b"1"
    once = s3.head_object(Bucket=BUCKET, Key="once")["ETag"]
    s3.put_object(Bucket=BUCKET, Key="once", Body=b"3", IfMatch=once)
    refused(
        "PreconditionFailed", 412, s3.put_object, Bucket=BUCKET, Key="once", Body=b"4", IfMatch=once
    )
    refused("NoSuchKey", 404, s3.put_object, Bucket=BUCKET, Key="never", Body=b"4", IfMatch=once)
    assert body_of("once") == b"3"


def lists():
    for key in ["l/a", "l/b/1", "l/b/2", "l/c", "l/d/e/f", "l/é x"]:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    for size in [1, 2, 3, 1000]:
        keys, groups = [], []
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix="l/", Delimiter="/", PaginationConfig={"PageSize": size}
        )
        for page in pages:
            keys += [item["Key"] for item in page.get("Contents", [])]
            groups += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
            assert page["KeyCount"] <= size
        assert keys == ["l/a", "l/c", "l/é x"] and groups == ["l/b/", "l/d/"], (size, keys, groups)
        keys, groups = [], []
        pages = s3.get_paginator("list_objects").paginate(
            Bucket=BUCKET, Prefix="l/", Delimiter="/", PaginationConfig={"PageSize": size}
        )
        for page in pages:
            keys += [item["Key"] for item in page.get("Contents", [])]
            groups += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
        assert keys == ["l/a", "l/c", "l/é x"] and groups == ["l/b/", "l/d/"], (size, keys, groups)
        versions = s3.get_paginator("list_object_versions").paginate(
            Bucket=BUCKET, Prefix="l/", PaginationConfig={"PageSize": size}
        )
        found = [v["Key"] for page in versions for v in page.get("Versions", [])]
        assert found == ["l/a", "l/b/1", "l/b/2", "l/c", "l/d/e/f", "l/é x"], found
    after = s3.list_objects_v2(Bucket=BUCKET, Prefix="l/", StartAfter="l/b/1")
    assert [item["Key"] for item in after["Contents"]][0] == "l/b/2"
    none = s3.list_objects_v2(Bucket=BUCKET, MaxKeys=0)
    assert none["KeyCount"] == 0 and not none["IsTruncated"]
    refused("InvalidArgument", 400, s3.list_objects_v2, Bucket=BUCKET, ContinuationToken="!")
    refused("NoSuchBucket", 404, s3.list_objects_v2, Bucket="no-such-bucket")


def tagging_and_attributes():
    key = "a/hello é+.txt"
    tags = s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
    assert tags == [{"Key": "k", "Value": "v"}, {"Key": "x", "Value": "y z"}]
    s3.put_object_tagging(Bucket=BUCKET, Key=key, Tagging={"TagSet": [{"Key": "n", "Value": ""}]})
    assert s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"] == [{"Key": "n", "Value": ""}]
    s3.delete_object_tagging(Bucket=BUCKET, Key=key)
    assert s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"] == []
    attributes = s3.get_object_attributes(
        Bucket=BUCKET, Key=key, ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"]
    )
    assert attributes["ObjectSize"] == 5 and attributes["StorageClass"] == "STANDARD"
    assert attributes["Checksum"]["ChecksumCRC32"]
    assert attributes["ETag"] == hashlib.md5(b"hello").hexdigest(), attributes["ETag"]


def copies():
    source = {"Bucket": BUCKET, "Key": "a/hello é+.txt"}
    s3.put_object_tagging(Bucket=BUCKET, Key=source["Key"], Tagging={"TagSet": [{"Key": "t", "Value": "1"}]})
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=source)
    got = s3.get_object(Bucket=BUCKET, Key="copy")
    assert got["Body"].read() == b"hello" and got["Metadata"] == {"who": "me"}
    assert got["TagCount"] == 1 and got["ContentType"] == "text/plain"
    s3.copy_object(
        Bucket=BUCKET, Key="copy", CopySource=source, MetadataDirective="REPLACE",
        Metadata={"new": "1"}, TaggingDirective="REPLACE", Tagging="",
    )
    got = s3.get_object(Bucket=BUCKET, Key="copy")
    assert got["Metadata"] == {"new": "1"} and "TagCount" not in got
    refused("InvalidArgument", 400, s3.copy_object, Bucket=BUCKET, Key=source["Key"], CopySource=source)
    refused(
        "PreconditionFailed", 412, s3.copy_object, Bucket=BUCKET, Key="copy", CopySource=source,
        CopySourceIfMatch='"x"',
    )
    refused("NoSuchKey", 404, s3.copy_object, Bucket=BUCKET, Key="c", CopySource=f"{BUCKET}/absent")
    refused(
        "InvalidArgument", 400, s3.copy_object, Bucket=BUCKET, Key="c", CopySource=f"{BUCKET}/../x/y"
    )
    s3.copy_object(Bucket=BUCKET, Key="from-read-set", CopySource=f"{ALIAS}/{READ_SET}/reads.bam")
    assert body_of("from-read-set") == body_of(f"{READ_SET}/reads.bam", bucket=ALIAS)


def multipart():
    parts = [pseudo(5 * MIB, 1), pseudo(5 * MIB + 3, 2), b"end"]
    for algorithm, kind in [(None, None), ("CRC32", "COMPOSITE"), ("CRC32", "FULL_OBJECT"), ("SHA256", "COMPOSITE")]:
        extra = {"ChecksumAlgorithm": algorithm, "ChecksumType": kind} if algorithm else {}
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key="mp", Metadata={"m": "1"}, **extra)
        name = {"Bucket": BUCKET, "Key": "mp", "UploadId": upload["UploadId"]}
        assert upload["UploadId"] in [
            found["UploadId"] for found in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
        ]
        s3.upload_part(**name, PartNumber=1, Body=b"replaced")
        listed = []
        for number, part in enumerate(parts, 1):
            extra = {"ChecksumAlgorithm": algorithm} if algorithm else {}
            answer = s3.upload_part(**name, PartNumber=number, Body=part, **extra)
            listed.append({"PartNumber": number, "ETag": answer["ETag"]})
        found = s3.list_parts(**name, MaxParts=2)
        assert [part["Size"] for part in found["Parts"]] == [5 * MIB, 5 * MIB + 3]
        assert found["IsTruncated"] and found["NextPartNumberMarker"] == 2
        rest = s3.list_parts(**name, PartNumberMarker=2)
        assert [part["PartNumber"] for part in rest["Parts"]] == [3]
        complete = s3.complete_multipart_upload
        backwards = {"Parts": listed[::-1]}
        refused("InvalidPartOrder", 400, complete, **name, MultipartUpload=backwards)
        wrong = {"Parts": [{"PartNumber": 1, "ETag": '"x"'}]}
        refused("InvalidPart", 400, complete, **name, MultipartUpload=wrong)
        missing = {"Parts": listed[:2] + [{"PartNumber": 9, "ETag": '"x"'}]}
        refused("InvalidPart", 400, complete, **name, MultipartUpload=missing)
        s3.upload_part(**name, PartNumber=4, Body=b"small")
        small = s3.list_parts(**name)["Parts"][3]
        late = {"Parts": listed + [{"PartNumber": 4, "ETag": small["ETag"]}]}
        refused("EntityTooSmall", 400, complete, **name, MultipartUpload=late)
        answer = complete(**name, MultipartUpload={"Parts": listed})
        assert answer["ETag"].endswith('-3"'), answer
        refused("NoSuchUpload", 404, complete, **name, MultipartUpload={"Parts": listed})
        refused("NoSuchUpload", 404, s3.upload_part, **name, PartNumber=1, Body=b"x")
        got = s3.get_object(Bucket=BUCKET, Key="mp", ChecksumMode="ENABLED")
        assert got["Body"].read() == b"".join(parts) and got["Metadata"] == {"m": "1"}
        assert got["ETag"] == answer["ETag"]
        if algorithm:
            value = got[f"Checksum{algorithm}"]
            assert got["ChecksumType"] == kind and value.endswith("-3") == (kind == "COMPOSITE")
        second = s3.get_object(Bucket=BUCKET, Key="mp", PartNumber=2)
        assert second["Body"].read() == parts[1] and second["PartsCount"] == 3
        attributes = s3.get_object_attributes(Bucket=BUCKET, Key="mp", ObjectAttributes=["ObjectParts"])
        assert attributes["ObjectParts"]["TotalPartsCount"] == 3
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="mp2")
    name = {"Bucket": BUCKET, "Key": "mp2", "UploadId": upload["UploadId"]}
    first = s3.upload_part_copy(
        **name, PartNumber=1, CopySource=f"{BUCKET}/mp", CopySourceRange=f"bytes=1-{5 * MIB}"
    )["CopyPartResult"]
    second = s3.upload_part_copy(
        **name, PartNumber=2, CopySource=f"{ALIAS}/{READ_SET}/reads.bam"
    )["CopyPartResult"]
    listed = [{"PartNumber": n, "ETag": part["ETag"]} for n, part in [(1, first), (2, second)]]
    s3.complete_multipart_upload(**name, MultipartUpload={"Parts": listed}, IfNoneMatch="*")
    expected = b"".join(parts)[1:5 * MIB + 1] + body_of(f"{READ_SET}/reads.bam", bucket=ALIAS)
    assert body_of("mp2") == expected
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="mp3")
    name = {"Bucket": BUCKET, "Key": "mp3", "UploadId": upload["UploadId"]}
    s3.upload_part(**name, PartNumber=1, Body=b"x")
    refused("InvalidArgument", 400, s3.upload_part, **name, PartNumber=10001, Body=b"x")
    s3.abort_multipart_upload(**name)
    refused("NoSuchUpload", 404, s3.abort_multipart_upload, **name)
    large = pseudo(20 * MIB, 3)
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
    s3.upload_fileobj(io.BytesIO(large), BUCKET, "transfer", Config=config)
    out = io.BytesIO()
    s3.download_fileobj(BUCKET, "transfer", out, Config=config)
    assert out.getvalue() == large


def presigned():
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "once"})
    v4 = client(signature_version="s3v4")
    url = v4.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "once"})
    assert urllib.request.urlopen(url).read() == b"3"
    put = v4.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "presigned"})
    urllib.request.urlopen(urllib.request.Request(put, data=b"by url", method="PUT"))
    assert body_of("presigned") == b"by url"
    flipped = url[:-1] + ("0" if url[-1] != "0" else "1")
    for bad in [flipped, url.replace("once", "large")]:
        try:
            urllib.request.urlopen(bad)
        except urllib.error.HTTPError as error:
            assert error.code == 403, error.code
        else:
            raise AssertionError("a forged URL was served")
    week = v4.generate_presigned_url(
        "get_object", Params={"Bucket": BUCKET, "Key": "once"}, ExpiresIn=604801
    )
    try:
        urllib.request.urlopen(week)
    except urllib.error.HTTPError as error:
        assert error.code in (400, 403), error.code
    else:
        raise AssertionError("a URL of more than seven days was served")


def read_sets():
    listed = s3.list_objects_v2(Bucket=ALIAS)["Contents"]
    keys = [item["Key"] for item in listed]
    base = "123456789012/sequenceStore/1000000001/readSet/"
    expected = [
        f"{base}{read_set}/{name}"
        for read_set in ["2000000001", "2000000002", "2000000004"]
        for name in ["reads.bam", "reads.bam.bai"]
    ]
    assert keys == expected, keys
    assert [item["StorageClass"] for item in listed] == ["STANDARD"] * 2 + ["GLACIER"] * 2 + ["STANDARD"] * 2
    for size in [1, 2, 3, 5]:
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=ALIAS, PaginationConfig={"PageSize": size}
        )
        assert [i["Key"] for page in pages for i in page["Contents"]] == expected, size
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=ALIAS, Prefix=base, Delimiter="/", PaginationConfig={"PageSize": size}
        )
        groups = [i["Prefix"] for page in pages for i in page["CommonPrefixes"]]
        assert groups == [f"{base}{n}/" for n in ["2000000001", "2000000002", "2000000004"]], groups
    top = s3.list_objects_v2(Bucket=ALIAS, Delimiter="/")
    assert [i["Prefix"] for i in top["CommonPrefixes"]] == ["123456789012/"] and not top["IsTruncated"]
    one = s3.list_objects_v2(Bucket=ALIAS, Prefix=f"{base}2000000004/reads.bam.")
    assert [i["Key"] for i in one["Contents"]] == [f"{base}2000000004/reads.bam.bai"]
    assert "Contents" not in s3.list_objects_v2(Bucket=ALIAS, Prefix="zzz")
    key = f"{READ_SET}/reads.bam"
    got = s3.get_object(Bucket=ALIAS, Key=key, ChecksumMode="ENABLED", Range="bytes=0-8")
    assert got["Body"].read() == b"reads.bam" and got["ETag"] == f'"{"ab" * 16}-1"'
    head = s3.head_object(Bucket=ALIAS, Key=key, ChecksumMode="ENABLED")
    assert head["Metadata"]["rv-semantic-etag"] == "semantic"
    assert head["ChecksumCRC64NVME"] and head["ChecksumSHA256"] and head["ChecksumType"] == "FULL_OBJECT"
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=ALIAS, Key=key)["TagSet"]}
    assert tags == {
        "omics:subjectId": "subject-1", "omics:sampleId": "sample-1",
        "omics:readSetStatus": "ACTIVE", "project": "p1",
    }, tags
    archived = f"{ARCHIVED}/reads.bam"
    refused("InvalidObjectState", 403, s3.get_object, Bucket=ALIAS, Key=archived)
    assert s3.head_object(Bucket=ALIAS, Key=archived)["StorageClass"] == "GLACIER"
    failed = key.replace("2000000001", "2000000003")
    refused("NoSuchKey", 404, s3.get_object, Bucket=ALIAS, Key=failed)
    refused("NoSuchKey", 404, s3.get_object, Bucket=ALIAS, Key="x")
    refused("AccessDenied", 403, s3.put_object, Bucket=ALIAS, Key=key, Body=b"x")
    refused("AccessDenied", 403, s3.put_object, Bucket=ALIAS, Key="new", Body=b"x")
    refused("PreconditionFailed", 412, s3.put_object, Bucket=ALIAS, Key=key, Body=b"x", IfNoneMatch="*")
    refused("AccessDenied", 403, s3.copy_object, Bucket=ALIAS, Key=key, CopySource=f"{BUCKET}/once")
    refused("AccessDenied", 403, s3.create_multipart_upload, Bucket=ALIAS, Key=key)
    refused("AccessDenied", 403, s3.delete_object, Bucket=ALIAS, Key=key)
    refused(
        "AccessDenied", 403, s3.put_object_tagging, Bucket=ALIAS, Key=key,
        Tagging={"TagSet": [{"Key": "a", "Value": "b"}]},
    )
    refused("AccessDenied", 403, s3.delete_bucket, Bucket=ALIAS)
    many = s3.delete_objects(Bucket=ALIAS, Delete={"Objects": [{"Key": key}, {"Key": "other"}]})
    assert [error["Code"] for error in many["Errors"]] == ["AccessDenied"] * 2
    versions = s3.list_object_versions(Bucket=ALIAS)["Versions"]
    assert {version["VersionId"] for version in versions} == {"null"}
    assert "Status" not in s3.get_bucket_versioning(Bucket=ALIAS)


def deletes():
    refused("BucketNotEmpty", 409, s3.delete_bucket, Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="after a refused deletion", Body=b"x")
    s3.delete_object(Bucket=BUCKET, Key="absent")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    answer = s3.delete_objects(
        Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in [*keys, "absent", "a/../b"]]}
    )
    assert len(answer["Deleted"]) == len(keys) + 1
    assert [error["Code"] for error in answer["Errors"]] == ["InvalidArgument"]
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="open")
    refused("BucketNotEmpty", 409, s3.delete_bucket, Bucket=BUCKET)
    s3.abort_multipart_upload(Bucket=BUCKET, Key="open", UploadId=upload["UploadId"])
    s3.delete_bucket(Bucket=BUCKET)
    refused("NoSuchBucket", 404, s3.put_object, Bucket=BUCKET, Key="k", Body=b"x")
    refused("NoSuchBucket", 404, s3.delete_bucket, Bucket=BUCKET)
    s3.create_bucket(Bucket=BUCKET)
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)
    s3.delete_bucket(Bucket=BUCKET)


for step in [
    buckets, objects, ranges_and_conditions, lists, tagging_and_attributes, copies, multipart,
    presigned, read_sets, deletes,
]:
    step()
    print("ok", step.__name__, flush=True)
assert os.environ["AWS_ACCESS_KEY_ID"]
