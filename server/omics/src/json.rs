//! Requests to words and words to answers, shared by the services: extractors, field checks, pages.

mod body;
mod call;
mod check;
mod page;
mod params;

pub(crate) use self::{
    body::{JsonBody, answer},
    call::Call,
    check::{
        check_arn, check_id, check_tags, check_text, check_text_opt, tag_list, tag_map, time_of,
    },
    page::{PageAsk, PageTokens},
    params::{Path, Query, query_pairs},
};
