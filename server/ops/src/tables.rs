//! The tables of the server's rows, each owned by the module that its line names.

use readvault_store::catalog::Table;

/// `core`: family → next number.
pub const IDS: Table = Table("ids");
/// `jobs`: id → job.
pub const JOBS: Table = Table("jobs");
/// `jobs`: (job, item) → state of one item of a job.
pub const JOB_ITEMS: Table = Table("job_items");
/// `idempotency`: (operation, token) → request digest and answer.
pub const TOKENS: Table = Table("tokens");
/// `tags`: ARN → tags of a resource that keeps none of its own.
pub const TAGS: Table = Table("tags");

/// `bucket`: name → bucket.
pub const BUCKETS: Table = Table("buckets");
/// `object`: bucket id ‖ escaped key ‖ 00 ‖ inverted version → object.
pub const OBJECTS: Table = Table("objects");
/// `multipart`: bucket id ‖ escaped key ‖ 00 ‖ upload id → multipart upload.
pub const MULTIPARTS: Table = Table("multiparts");
/// `multipart`, `read_set_upload`: upload ‖ source ‖ part number → part.
pub const PARTS: Table = Table("parts");

/// `sequence_store`: id → sequence store.
pub const SEQUENCE_STORES: Table = Table("sequence_stores");
/// `read_set`: (store, id) → read set.
pub const READ_SETS: Table = Table("read_sets");
/// `read_set`: (store, field, value, time, id) → nothing.
pub const READ_SET_INDEX: Table = Table("read_set_index");
/// `read_set_upload`: (store, upload) → read set upload.
pub const READ_SET_UPLOADS: Table = Table("read_set_uploads");
/// `import`: (store, job) → import job of a sequence or reference store.
pub const IMPORTS: Table = Table("imports");
/// `reference_store`: id → reference store.
pub const REFERENCE_STORES: Table = Table("reference_stores");
/// `reference`: (store, id) → reference.
pub const REFERENCES: Table = Table("references");

/// `workflow`: id → workflow.
pub const WORKFLOWS: Table = Table("workflows");
/// `run`: id → run.
pub const RUNS: Table = Table("runs");
/// `run`: UUID → id.
pub const RUN_UUIDS: Table = Table("run_uuids");
/// `task`: (run, id) → task.
pub const TASKS: Table = Table("tasks");
/// `run_log`: (stream, sequence) → lines.
pub const LOGS: Table = Table("logs");

/// `workflow`: name → store of the server's own documents.
pub const DOCUMENT_STORES: Table = Table("document_stores");
/// `run`: id → parameters and inputs, which never change.
pub const RUN_SPECS: Table = Table("run_specs");
/// `run`: id → nothing, while the run has not ended.
pub const LIVE_RUNS: Table = Table("live_runs");
/// `run`: id → its immutable record, once it ended.
pub const RUN_RECORDS: Table = Table("run_records");
/// `run_log`: stream → what is known of it.
pub const LOG_STREAMS: Table = Table("log_streams");

/// `upkeep`: name of a piece of upkeep → when it last ended, and how.
pub const UPKEEP: Table = Table("upkeep");

/// `kept`: table ‖ 00 ‖ key of a row → where its newest copy in the packs is.
pub const KEPT: Table = Table("kept");

/// Every table of the server, for the backend to open.
pub const ALL: &[Table] = &[
    IDS,
    JOBS,
    JOB_ITEMS,
    TOKENS,
    TAGS,
    BUCKETS,
    OBJECTS,
    MULTIPARTS,
    PARTS,
    SEQUENCE_STORES,
    READ_SETS,
    READ_SET_INDEX,
    READ_SET_UPLOADS,
    IMPORTS,
    REFERENCE_STORES,
    REFERENCES,
    WORKFLOWS,
    RUNS,
    RUN_UUIDS,
    TASKS,
    LOGS,
    DOCUMENT_STORES,
    RUN_SPECS,
    LIVE_RUNS,
    RUN_RECORDS,
    LOG_STREAMS,
    UPKEEP,
    KEPT,
];
