//! Commands about images and engines, with the server running or not.
//!
//! They go through the agent's root-owned store and never open the catalog; the server sees what they did
//! at its next use.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use readvault_exec_protocol::{
    PROTOCOL_VERSION,
    agent::{AgentReply, AgentRequest, ImageRecord, Language},
    frame::{read_frame, write_frame},
};
use tokio::net::UnixStream;

use crate::launcher;

/// Imports an OCI layout as `name` and prints its digest.
///
/// # Errors
/// When there is no data directory, no root, or the agent refuses the image, with its reason.
pub fn import_image(data: &Path, layout: PathBuf, name: String) -> Result<()> {
    let layout = std::fs::canonicalize(&layout).context("the layout can't be found")?;
    print_record(ask(data, AgentRequest::ImportImage { layout, name })?)
}

/// Adds the engine of a language and prints its digest.
///
/// # Errors
/// As [`import_image`].
pub fn add_engine(data: &Path, language: &str, layout: PathBuf) -> Result<()> {
    if language != "wdl" {
        bail!("no engine of {language} can be used yet: only WDL runs");
    }
    let language = Language::Wdl;
    let layout = std::fs::canonicalize(&layout).context("the layout can't be found")?;
    print_record(ask(data, AgentRequest::AddEngine { language, layout })?)
}

/// Prints the images and engines of a vault's node, one a line.
///
/// # Errors
/// When there is no data directory, no root, or no answer.
pub fn list_images(data: &Path) -> Result<()> {
    let AgentReply::Images { images, engines } = ask(data, AgentRequest::Images)? else {
        bail!("the agent answered something else")
    };
    for image in images {
        println!("image\t{}\t{}\t{} bytes", image.name, image.digest, image.bytes);
    }
    for (language, image) in engines {
        println!("engine {language:?}\t{}\t{}\t{} bytes", image.name, image.digest, image.bytes);
    }
    Ok(())
}

fn print_record(reply: AgentReply) -> Result<()> {
    let AgentReply::Imported(ImageRecord { name, digest, bytes, .. }) = reply else {
        bail!("the agent answered something else")
    };
    println!("{name}\t{digest}\t{bytes} bytes");
    Ok(())
}

/// Asks the agent of `data`: the running one, else one started for this question alone.
fn ask(data: &Path, request: AgentRequest) -> Result<AgentReply> {
    std::fs::create_dir_all(data).context("the data directory can't be made")?;
    let runtime = launcher::runtime_of(data)?;
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    rt.block_on(async {
        if let Ok(stream) = UnixStream::connect(runtime.join("agent.sock")).await {
            return converse(stream, &request).await;
        }
        if !launcher::is_root() {
            bail!("no agent runs for this vault, and only root may start one: use sudo");
        }
        let own = Temporary::start(data, &runtime)?;
        let stream = own.connect().await?;
        converse(stream, &request).await
    })
}

async fn converse(mut stream: UnixStream, request: &AgentRequest) -> Result<AgentReply> {
    let hello = AgentRequest::Hello { version: PROTOCOL_VERSION };
    match exchange(&mut stream, &hello).await? {
        AgentReply::Hello { version: PROTOCOL_VERSION } => {}
        other => bail!("the agent speaks another version: {other:?}"),
    }
    match exchange(&mut stream, request).await? {
        AgentReply::Refused { reason } => bail!("{reason}"),
        reply => Ok(reply),
    }
}

async fn exchange(stream: &mut UnixStream, request: &AgentRequest) -> Result<AgentReply> {
    write_frame(stream, request, &[]).await?;
    let reply = read_frame(stream).await?;
    Ok(reply.context("the agent ended the conversation")?.0)
}

/// An agent that lives as long as one command.
struct Temporary {
    child: Child,
    socket: PathBuf,
}

impl Temporary {
    fn start(data: &Path, runtime: &Path) -> Result<Self> {
        let state = launcher::agent_state_of(data)?;
        std::fs::create_dir_all(&state).context("the agent's directory can't be made")?;
        std::fs::create_dir_all(runtime).context("the runtime directory can't be made")?;
        let socket = runtime.join(format!("agent-{}.sock", std::process::id()));
        let child = Command::new(launcher::beside("readvault-exec")?)
            .arg("agent")
            .arg("--state")
            .arg(state)
            .arg("--socket")
            .arg(&socket)
            .args(["--server-uid", "0", "--die-with-parent"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("an agent can't be started")?;
        Ok(Self { child, socket })
    }

    async fn connect(&self) -> Result<UnixStream> {
        for _ in 0..200 {
            if let Ok(stream) = UnixStream::connect(&self.socket).await {
                return Ok(stream);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the agent did not come up")
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}
