#!/bin/sh
# Drives the S3 API with the aws command line. Usage: aws_cli.sh ENDPOINT, credentials in the environment.
set -eu
endpoint=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
aws() { command aws --endpoint-url "$endpoint" --region us-east-1 "$@"; }

head -c 20971520 /dev/urandom >"$work/large"
mkdir -p "$work/tree/b" && echo one >"$work/tree/a" && echo two >"$work/tree/b/c d"

aws s3 mb s3://cli-scenario
aws s3 cp --quiet "$work/large" s3://cli-scenario/large
aws s3 cp --quiet s3://cli-scenario/large "$work/back" && cmp "$work/large" "$work/back"
aws s3 cp --quiet s3://cli-scenario/large s3://cli-scenario/copy
aws s3 cp --quiet s3://cli-scenario/copy "$work/back" && cmp "$work/large" "$work/back"
aws s3 mv --quiet s3://cli-scenario/copy s3://cli-scenario/moved
aws s3 sync --quiet "$work/tree" s3://cli-scenario/tree/
test -z "$(aws s3 sync "$work/tree" s3://cli-scenario/tree/)"
aws s3 sync --quiet s3://cli-scenario/tree/ "$work/out" && diff -r "$work/tree" "$work/out"
aws s3 ls s3://cli-scenario/ | grep -q 'PRE tree/'
aws s3 ls s3://cli-scenario/ | grep -q ' 20971520 moved'
echo piped | aws s3 cp --quiet - s3://cli-scenario/piped
test "$(aws s3 cp s3://cli-scenario/piped -)" = piped
aws s3api put-object --bucket cli-scenario --key once --body "$work/tree/a" --if-none-match '*' >/dev/null
! aws s3api put-object --bucket cli-scenario --key once --body "$work/tree/a" --if-none-match '*' 2>"$work/error"
grep -q PreconditionFailed "$work/error"
aws s3 rm --quiet --recursive s3://cli-scenario/
aws s3 rb s3://cli-scenario
echo 'ok aws cli'
