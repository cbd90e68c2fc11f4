//! Scans, folded inside the database: one statement a page, so one state and one round trip.

use std::ops::Bound;

use bytes::Bytes;
use readvault_store::{
    Error, ErrorKind, Result,
    catalog::{
        Fold, Item, PAGE_ITEMS_MAX, Page, Row, ScanRange, fold::PAGE_BYTES, row::TableSealer,
    },
};

use crate::schema::KEY_BYTES_MAX;

/// Every row of a range: `(tab, start, end, rows, bytes)` gives `(key, no name, value)`. Values behind the
/// first `bytes` are left out.
pub(crate) const PLAIN: &str = "
    SELECT key, NULL::bytea, CASE WHEN before < $5::bigint THEN value END
    FROM (
        SELECT key, value,
            coalesce(sum(octet_length(key) + octet_length(value)) OVER (
                ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
        FROM (
            SELECT key, value FROM readvault.rows
            WHERE tab = $1::smallint AND key >= $2::bytea AND key < $3::bytea
            ORDER BY key LIMIT $4::int
        ) AS found
    ) AS counted
    ORDER BY key";

/// The walk of `readvault_store::catalog::fold`, step by step: each step finds the first key at or behind
/// `start`, names its group if it has one, and goes on behind the group or behind all versions of the key.
/// `(tab, start, end, items, bytes, after, delimiter, suffix, last suffix)` gives `(key, name, value)`.
pub(crate) const FOLDED: &str = r"
    WITH RECURSIVE walk (n, key, name, start) AS (
        SELECT 0, NULL::bytea, NULL::bytea, $2::bytea
    UNION ALL
        SELECT walk.n + 1, r.key, g.name,
            CASE
                WHEN g.name IS NULL AND length(r.key) >= $8::int
                    THEN substring(r.key FROM 1 FOR length(r.key) - $8::int) || $9::bytea || '\x00'
                WHEN g.name IS NULL THEN r.key || '\x00'
                WHEN length(t.name) > 0
                    THEN set_byte(t.name, length(t.name) - 1, get_byte(t.name, length(t.name) - 1) + 1)
            END
        FROM walk
        CROSS JOIN LATERAL (
            SELECT key FROM readvault.rows
            WHERE tab = $1::smallint AND key >= walk.start AND key < $3::bytea
            ORDER BY key LIMIT 1
        ) AS r
        CROSS JOIN LATERAL (
            SELECT position($7::bytea IN substring(r.key FROM $6::int + 1
                FOR greatest(length(r.key) - $8::int - $6::int, 0))) AS place
        ) AS p
        CROSS JOIN LATERAL (
            SELECT CASE WHEN p.place > 0
                THEN substring(r.key FROM 1 FOR $6::int + p.place + length($7::bytea) - 1) END AS name
        ) AS g
        CROSS JOIN LATERAL (SELECT rtrim(g.name, '\xff') AS name) AS t
        WHERE walk.n < $4::int
    )
    SELECT key, name, CASE WHEN before < $5::bigint THEN value END
    FROM (
        SELECT walk.n, walk.key, walk.name, v.value,
            coalesce(sum(octet_length(walk.key) + coalesce(octet_length(v.value), 0)) OVER (
                ORDER BY walk.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
        FROM walk
        LEFT JOIN LATERAL (
            SELECT value FROM readvault.rows
            WHERE tab = $1::smallint AND key = CASE WHEN walk.name IS NULL THEN walk.key END
        ) AS v ON true
        WHERE walk.n > 0
    ) AS counted
    ORDER BY n";

/// The parameters of a scan.
pub(crate) struct Walk {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
    /// One more than the page holds: the key of the first row behind it is where the next one begins.
    pub(crate) steps: i32,
    pub(crate) bytes: i64,
    pub(crate) after: i32,
    pub(crate) delimiter: Option<Vec<u8>>,
    pub(crate) suffix: i32,
    pub(crate) last_suffix: Vec<u8>,
}

impl Walk {
    /// The walk of a page of `limit` items.
    ///
    /// # Errors
    /// `InvalidInput` for a limit outside 1 to [`PAGE_ITEMS_MAX`] or an empty delimiter.
    pub(crate) fn new(range: &ScanRange, fold: &Fold, limit: usize) -> Result<Self> {
        if !(1..=PAGE_ITEMS_MAX).contains(&limit) {
            return Err(Error::new(ErrorKind::InvalidInput, "a page has 1 to 1000 items"));
        }
        if fold.delimiter.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::new(ErrorKind::InvalidInput, "a delimiter is never empty"));
        }
        // No key is longer than the limit, so what lies beyond it is all the same.
        let suffix = fold.version_suffix.min(KEY_BYTES_MAX + 1);
        Ok(Self {
            start: match &range.start {
                Bound::Unbounded => Vec::new(),
                Bound::Included(key) => key.clone(),
                Bound::Excluded(key) => behind(key),
            },
            end: match &range.end {
                Bound::Unbounded => vec![0xFF; KEY_BYTES_MAX + 1],
                Bound::Included(key) => behind(key),
                Bound::Excluded(key) => key.clone(),
            },
            steps: small(limit + 1),
            bytes: i64::try_from(PAGE_BYTES).expect("a page is smaller than 2^63 bytes"),
            after: small(fold.after.min(KEY_BYTES_MAX)),
            delimiter: fold.delimiter.clone(),
            suffix: small(suffix),
            last_suffix: vec![0xFF; suffix],
        })
    }

    /// Whether rows are folded at all.
    pub(crate) fn folds(&self) -> bool {
        self.delimiter.is_some() || self.suffix > 0
    }
}

fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

fn small(number: usize) -> i32 {
    i32::try_from(number).expect("a count that has a limit of a few thousand")
}

/// One row of an answer: key, name of its group, sealed value.
pub(crate) type Step<'a> = (&'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

/// The page of `limit` items that `steps` make.
pub(crate) fn page<'a>(
    steps: impl Iterator<Item = Result<Step<'a>>>,
    limit: usize,
    sealer: &TableSealer,
) -> Result<Page> {
    let mut page = Page::default();
    for step in steps {
        let item = match step? {
            (key, ..) if page.items.len() == limit => {
                page.next = Some(key.to_vec());
                break;
            }
            (_, Some(name), _) => Item::Group(name.to_vec()),
            (key, None, Some(sealed)) => {
                let (value, version): (Bytes, u64) = sealer.open(key, sealed)?;
                Item::Row(Row { key: key.to_vec(), value, version })
            }
            (key, None, None) => {
                page.next = Some(key.to_vec());
                break;
            }
        };
        page.items.push(item);
    }
    Ok(page)
}
