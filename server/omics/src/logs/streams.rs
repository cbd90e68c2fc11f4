//! DescribeLogGroups and DescribeLogStreams.

use readvault_ops::run_log::{self, GROUP, LogStream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{check_group, group_arn, invalid, read, said, stream_arn};
use crate::{Parts, error::ApiError, json::Call};

/// Streams of a page at most, as CloudWatch Logs has it.
const PAGE_MAX: usize = 50;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupsBody {
    log_group_name_prefix: Option<String>,
    log_group_name_pattern: Option<String>,
}

/// The one log group.
pub(super) fn groups(parts: &Parts, call: &Call, body: Value) -> Result<Value, ApiError> {
    let body: GroupsBody = read(body)?;
    call.permit(parts, "logs:DescribeLogGroups", "*")?;
    let listed = body.log_group_name_prefix.is_none_or(|prefix| GROUP.starts_with(&prefix))
        && body.log_group_name_pattern.is_none_or(|pattern| GROUP.contains(&pattern));
    let arn = group_arn(parts);
    let group = json!({
        "logGroupName": GROUP, "arn": format!("{arn}:*"), "logGroupArn": arn,
        "creationTime": 0, "metricFilterCount": 0,
    });
    Ok(json!({ "logGroups": if listed { vec![group] } else { vec![] } }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StreamsBody {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name_prefix: Option<String>,
    order_by: Option<String>,
    descending: bool,
    next_token: Option<String>,
    limit: Option<usize>,
}

/// Streams by name, or the newest ones.
pub(super) async fn streams(parts: &Parts, call: &Call, body: Value) -> Result<Value, ApiError> {
    let body: StreamsBody = read(body)?;
    let permit = call.permit(parts, "logs:DescribeLogStreams", group_arn(parts))?;
    check_group(parts, body.log_group_name.as_deref(), body.log_group_identifier.as_deref())?;
    let limit = body.limit.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(invalid("limit must be from 1 to 50"));
    }
    let prefix = body.log_stream_name_prefix.unwrap_or_default();
    let (streams, next) = match body.order_by.as_deref() {
        Some("LastEventTime") if !prefix.is_empty() => {
            return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
        }
        Some("LastEventTime") => {
            if !body.descending {
                return Err(invalid("LastEventTime is served with descending only"));
            }
            let newest = run_log::newest_streams(&parts.core, &permit, &prefix, limit).await;
            (newest.map_err(said)?, None)
        }
        None | Some("LogStreamName") => {
            if body.descending {
                return Err(invalid("names are served in ascending order only"));
            }
            let after = body.next_token.as_deref();
            let page = run_log::streams(&parts.core, &permit, &prefix, (after, limit));
            page.await.map_err(said)?
        }
        Some(_) => return Err(invalid("orderBy must be LogStreamName or LastEventTime")),
    };
    let items: Vec<_> = streams.iter().map(|stream| item(parts, stream)).collect();
    let mut answer = json!({ "logStreams": items });
    if let Some(next) = next {
        answer["nextToken"] = json!(next);
    }
    Ok(answer)
}

fn item(parts: &Parts, stream: &LogStream) -> Value {
    json!({
        "logStreamName": stream.name, "arn": stream_arn(parts, &stream.name),
        "creationTime": stream.created_ms, "firstEventTimestamp": stream.created_ms,
        "lastEventTimestamp": stream.last_ms, "lastIngestionTime": stream.last_ms,
        "storedBytes": 0,
    })
}
