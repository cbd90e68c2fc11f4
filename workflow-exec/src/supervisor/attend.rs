//! Attends a running task: streams, signals, its log files, its memory; until nothing of it is left.

use std::{fs::File, io::Read, sync::Arc, time::Duration};

use readvault_ambient::{Clock, System};
use readvault_exec_protocol::{
    frame::{read_frame, write_frame},
    run::LogName,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{ReadHalf, WriteHalf},
    },
    process::ChildStdin,
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use uuid::Uuid;

use super::{
    container::{Container, lost_helper},
    context::{Order, Run},
    logs::LineCutter,
};
use crate::{
    fault::{FailureReason, Fault},
    sandbox::Status,
    shim_protocol::{ShimReply, ShimRequest},
};

/// How often memory and log files are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Between SIGTERM and SIGKILL of a stopped container.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// Exit code of what memory or a kill ended.
const KILLED: i32 = 137;

/// A running task and what to watch of it.
pub(super) struct Attendance {
    /// The run.
    pub run: Arc<Run>,
    /// The container.
    pub container: Container,
    /// Orders from other conversations.
    pub orders: mpsc::Receiver<Order>,
    /// Files that hold its output.
    pub outputs: Vec<(&'static str, File)>,
    /// Bytes of memory that it may use of its own.
    pub memory_bytes: u64,
    /// The task.
    pub task: Uuid,
}

impl std::fmt::Debug for Attendance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Attendance").field("task", &self.task).finish_non_exhaustive()
    }
}

/// How a task ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// Exit code.
    pub code: i32,
    /// Whether memory ended it.
    pub out_of_memory: bool,
    /// Most bytes of memory that it used.
    pub memory_peak_bytes: Option<u64>,
    /// Seconds of CPU that it used.
    pub cpu_seconds: Option<f64>,
    /// What it said last.
    pub last_lines: String,
}

/// State of the attending loop.
struct Watch {
    cutters: [LineCutter; 2],
    tails: Vec<(LineCutter, File)>,
    out_of_memory: bool,
    stop_at: Option<Duration>,
    code: Option<Result<i32, Fault>>,
    connected: bool,
}

impl Attendance {
    /// Attends until the container has ended, then removes all of it.
    ///
    /// # Errors
    /// When the container could not be made, was lost, or does not go away.
    pub(super) async fn attend(
        mut self,
        stream: &mut UnixStream,
        id: &str,
    ) -> Result<Ended, Fault> {
        let log = LogName::Task { task: self.task };
        let mut watch = Watch {
            cutters: [LineCutter::new(log.clone()), LineCutter::new(log.clone())],
            tails: self
                .outputs
                .drain(..)
                .map(|(_, file)| (LineCutter::new(log.clone()), file))
                .collect(),
            out_of_memory: false,
            stop_at: None,
            code: None,
            connected: true,
        };
        let (mut reader, mut writer) = stream.split();
        let started = ShimReply::Started { container: id.to_owned() };
        watch.connected = write_frame(&mut writer, &started, &[]).await.is_ok();
        self.watch(&mut watch, &mut reader, &mut writer).await;
        self.conclude(watch).await
    }

    async fn watch(
        &mut self,
        watch: &mut Watch,
        reader: &mut ReadHalf<'_>,
        writer: &mut WriteHalf<'_>,
    ) {
        let mut stdin = self.container.helper.stdin.take();
        let mut stdout = self.container.helper.stdout.take();
        let mut stderr = self.container.helper.stderr.take();
        let (mut out, mut err) = (vec![0; PIECE], vec![0; PIECE]);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // One future over all turns: a frame that was read in part must not be lost.
        let mut incoming = Box::pin(next_request(reader));
        loop {
            tokio::select! {
                status = self.container.next_status(), if watch.code.is_none() => {
                    match status {
                        Some(Status::Started { .. }) => {}
                        Some(Status::Exited { code }) => watch.code = Some(Ok(code)),
                        Some(Status::Failed { message }) => watch.code = Some(Err(Fault::new(
                            FailureReason::CannotStartContainer,
                            format!("the container can't be made: {message}"),
                        ))),
                        None => watch.code = Some(Err(lost_helper())),
                    }
                    if watch.code.is_some() {
                        // Whatever still holds a pipe ends now, so that the pipes do.
                        self.container.signal(libc::SIGKILL);
                    }
                }
                length = read_some(&mut stdout, &mut out) => {
                    let piece = &out[..length];
                    watch.cutters[0].push(&self.run.logs, piece);
                    watch.send(writer, &ShimReply::Stdout, piece).await;
                    if length == 0 { stdout = None; }
                }
                length = read_some(&mut stderr, &mut err) => {
                    let piece = &err[..length];
                    watch.cutters[1].push(&self.run.logs, piece);
                    watch.send(writer, &ShimReply::Stderr, piece).await;
                    if length == 0 { stderr = None; }
                }
                (request, reader) = &mut incoming, if watch.connected => {
                    self.take(watch, request, &mut stdin).await;
                    incoming.set(next_request(reader));
                }
                Some(order) = self.orders.recv() => self.obey(watch, order),
                _ = tick.tick() => self.look(watch),
            }
            if watch.code.is_some() && stdout.is_none() && stderr.is_none() {
                return;
            }
        }
    }

    /// What the shim of this container says; the end of its connection is the end of the container.
    async fn take(
        &self,
        watch: &mut Watch,
        request: Option<(ShimRequest, bytes::Bytes)>,
        stdin: &mut Option<ChildStdin>,
    ) {
        match request {
            Some((ShimRequest::Stdin, bytes)) => {
                if let Some(pipe) = stdin
                    && pipe.write_all(&bytes).await.is_err()
                {
                    *stdin = None;
                }
            }
            Some((ShimRequest::StdinEnd, _)) => *stdin = None,
            Some((ShimRequest::Signal { signal }, _)) => self.obey(watch, Order::Signal(signal)),
            Some((ShimRequest::Stop { .. }, _)) => self.obey(watch, Order::Stop),
            Some(_) => {}
            None => {
                watch.connected = false;
                self.container.signal(libc::SIGKILL);
            }
        }
    }

    fn obey(&self, watch: &mut Watch, order: Order) {
        match order {
            Order::Signal(libc::SIGTERM) | Order::Stop => {
                if watch.stop_at.is_none() {
                    watch.stop_at = Some(System.monotonic() + STOP_GRACE);
                    self.container.signal(libc::SIGTERM);
                }
            }
            Order::Signal(signal) => self.container.signal(signal),
        }
    }

    /// Looks at memory, a pending stop and the files that hold the task's output.
    fn look(&self, watch: &mut Watch) {
        let cgroup = &self.container.cgroup;
        let over = cgroup.anonymous_bytes().is_some_and(|bytes| bytes > self.memory_bytes);
        // One member of a pipeline that memory ended makes the whole result worthless.
        if !watch.out_of_memory && (over || cgroup.oom_kills() > 0) {
            watch.out_of_memory = true;
            self.container.signal(libc::SIGKILL);
        }
        if watch.stop_at.is_some_and(|at| System.monotonic() >= at) {
            self.container.signal(libc::SIGKILL);
        }
        watch.follow(&self.run, 4);
    }

    async fn conclude(self, mut watch: Watch) -> Result<Ended, Fault> {
        let cgroup = self.container.cgroup.clone();
        let out_of_memory = watch.out_of_memory || cgroup.oom_kills() > 0;
        let memory_peak_bytes = cgroup.memory_peak_bytes();
        let cpu_seconds = cgroup.cpu_seconds();
        self.container.destroy().await?;
        watch.follow(&self.run, usize::MAX);
        for cutter in watch.cutters.iter_mut().chain(watch.tails.iter_mut().map(|tail| &mut tail.0))
        {
            cutter.finish(&self.run.logs);
        }
        let code = watch.code.unwrap_or_else(|| Err(lost_helper()));
        let code = if out_of_memory { KILLED } else { code? };
        let said = watch.tails.iter().rev().map(|tail| &tail.0).chain(watch.cutters.iter().rev());
        let last_lines = said.map(|cutter| cutter.last_lines(3)).find(|lines| !lines.is_empty());
        Ok(Ended {
            code,
            out_of_memory,
            memory_peak_bytes,
            cpu_seconds,
            last_lines: last_lines.unwrap_or_default(),
        })
    }
}

impl Watch {
    async fn send(&mut self, writer: &mut WriteHalf<'_>, reply: &ShimReply, piece: &[u8]) {
        if self.connected && !piece.is_empty() {
            // The reading side notices a shim that is gone.
            let _ = write_frame(writer, reply, piece).await;
        }
    }

    /// Takes what was added to the files that hold the task's output, at most `pieces` each.
    fn follow(&mut self, run: &Run, pieces: usize) {
        let mut buffer = vec![0; PIECE];
        for (cutter, file) in &mut self.tails {
            for _ in 0..pieces {
                match file.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(length) => cutter.push(&run.logs, &buffer[..length]),
                }
            }
        }
    }
}

async fn next_request<'a, 'b>(
    reader: &'a mut ReadHalf<'b>,
) -> (Option<(ShimRequest, bytes::Bytes)>, &'a mut ReadHalf<'b>) {
    let request = read_frame(&mut *reader).await.ok().flatten();
    (request, reader)
}

/// Bytes that are there, 0 at the end; never ready when the stream is over.
async fn read_some<R: AsyncRead + Unpin>(stream: &mut Option<R>, buffer: &mut [u8]) -> usize {
    match stream {
        Some(stream) => stream.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}
