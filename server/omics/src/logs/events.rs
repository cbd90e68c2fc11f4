//! GetLogEvents and FilterLogEvents.

use readvault_ops::{
    authorize::Permit,
    run_log::{
        self,
        events::{Direction, EventsQuery, LogEvent, Position, events},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{check_group, group_arn, invalid, read, said, stream_arn, token};
use crate::{Parts, error::ApiError, json::Call};

/// Events of a page at most.
const PAGE_MAX: usize = 10_000;

/// Streams that one FilterLogEvents may name.
const STREAMS_MAX: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GetBody {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name: Option<String>,
    start_time: Option<u64>,
    end_time: Option<u64>,
    next_token: Option<String>,
    limit: Option<usize>,
    start_from_head: bool,
}

/// A page of one stream. At either end the token comes back that was given.
pub(super) async fn get(parts: &Parts, call: &Call, body: Value) -> Result<Value, ApiError> {
    let body: GetBody = read(body)?;
    let stream = body.log_stream_name.ok_or_else(|| invalid("logStreamName is required"))?;
    let permit = call.permit(parts, "logs:GetLogEvents", stream_arn(parts, &stream))?;
    check_group(parts, body.log_group_name.as_deref(), body.log_group_identifier.as_deref())?;
    let direction = match &body.next_token {
        Some(text) => token::read(text)?,
        None if body.start_from_head => Direction::From(Position::default()),
        None => Direction::Tail,
    };
    let query = EventsQuery {
        direction,
        from_ms: body.start_time.unwrap_or(0),
        until_ms: body.end_time.unwrap_or(u64::MAX),
        limit: limit(body.limit)?,
        terms: Vec::new(),
    };
    let page = events(&parts.core, &permit, &stream, &query).await.map_err(said)?;
    let items: Vec<_> = page.events.iter().map(|event| item(event, None)).collect();
    Ok(json!({
        "events": items,
        "nextForwardToken": token::forward(page.end),
        "nextBackwardToken": token::backward(page.start),
    }))
}

fn limit(given: Option<usize>) -> Result<usize, ApiError> {
    let limit = given.unwrap_or(PAGE_MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(invalid("limit must be from 1 to 10,000"));
    }
    Ok(limit)
}

fn item(event: &LogEvent, stream: Option<&str>) -> Value {
    let mut item = json!({
        "timestamp": event.at_ms, "ingestionTime": event.at_ms, "message": event.message,
    });
    if let Some(stream) = stream {
        item["logStreamName"] = json!(stream);
        item["eventId"] = json!(token::forward(event.position));
    }
    item
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FilterBody {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_names: Option<Vec<String>>,
    log_stream_name_prefix: Option<String>,
    start_time: Option<u64>,
    end_time: Option<u64>,
    filter_pattern: Option<String>,
    next_token: Option<String>,
    limit: Option<usize>,
}

/// Events of several streams, stream by stream, that contain all terms of a pattern.
pub(super) async fn filter(parts: &Parts, call: &Call, body: Value) -> Result<Value, ApiError> {
    let body: FilterBody = read(body)?;
    let permit = call.permit(parts, "logs:FilterLogEvents", group_arn(parts))?;
    check_group(parts, body.log_group_name.as_deref(), body.log_group_identifier.as_deref())?;
    let mut query = EventsQuery {
        direction: Direction::From(Position::default()),
        from_ms: body.start_time.unwrap_or(0),
        until_ms: body.end_time.unwrap_or(u64::MAX),
        limit: limit(body.limit)?,
        terms: terms(body.filter_pattern.as_deref().unwrap_or_default())?,
    };
    let names = stream_names(parts, &permit, &body).await?;
    let (mut skip, mut left) = (None, query.limit);
    if let Some(text) = &body.next_token {
        let (place, name) = text.split_once(' ').ok_or_else(|| invalid("nextToken is wrong"))?;
        query.direction = token::read(place)?;
        skip = Some(name.to_owned());
    }
    let mut items = Vec::new();
    for name in names {
        if skip.as_ref().is_some_and(|skip| name < *skip) {
            continue;
        }
        if skip.take().is_some_and(|skip| skip != name) {
            query.direction = Direction::From(Position::default());
        }
        query.limit = left;
        let page = events(&parts.core, &permit, &name, &query).await.map_err(said)?;
        items.extend(page.events.iter().map(|event| item(event, Some(&name))));
        left = left.saturating_sub(page.events.len());
        if !page.complete || left == 0 {
            let next = format!("{} {name}", token::forward(page.end));
            return Ok(json!({ "events": items, "searchedLogStreams": [], "nextToken": next }));
        }
        query.direction = Direction::From(Position::default());
    }
    Ok(json!({ "events": items, "searchedLogStreams": [] }))
}

/// The streams that are searched, in order of name.
async fn stream_names(
    parts: &Parts,
    permit: &Permit,
    body: &FilterBody,
) -> Result<Vec<String>, ApiError> {
    let mut names = match (&body.log_stream_names, &body.log_stream_name_prefix) {
        (Some(_), Some(_)) => {
            return Err(invalid("give logStreamNames or logStreamNamePrefix, not both"));
        }
        (Some(names), None) => names.clone(),
        (None, Some(prefix)) => {
            let streams = run_log::streams(&parts.core, permit, prefix, (None, STREAMS_MAX));
            let (streams, more) = streams.await.map_err(said)?;
            if more.is_some() {
                return Err(invalid("the prefix names more than 100 streams"));
            }
            streams.into_iter().map(|stream| stream.name).collect()
        }
        (None, None) => {
            return Err(invalid("give logStreamNames or logStreamNamePrefix here"));
        }
    };
    if names.len() > STREAMS_MAX {
        return Err(invalid("logStreamNames may have at most 100 entries"));
    }
    names.sort();
    Ok(names)
}

/// The terms of a filter pattern: words and quoted texts. Its other forms are refused, not guessed.
fn terms(pattern: &str) -> Result<Vec<String>, ApiError> {
    let mut terms = Vec::new();
    let mut rest = pattern.trim();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (term, after) =
                quoted.split_once('"').ok_or_else(|| invalid("filterPattern has an open quote"))?;
            terms.push(term.to_owned());
            rest = after.trim_start();
            continue;
        }
        let (term, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if term.starts_with(['{', '[', '?', '-', '%']) {
            return Err(invalid("filterPattern may have words and quoted texts only here"));
        }
        terms.push(term.to_owned());
        rest = after.trim_start();
    }
    Ok(terms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_words_and_quoted_texts() {
        assert_eq!(terms(" a \"b c\"  d ").unwrap(), ["a", "b c", "d"]);
        assert!(terms("").unwrap().is_empty());
        for bad in ["{ $.x = 1 }", "[a,b]", "?a ?b", "-a", "\"open"] {
            assert!(terms(bad).is_err(), "{bad}");
        }
    }
}
