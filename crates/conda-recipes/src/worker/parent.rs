//! The parent's side of the pipe.

use std::{
    collections::VecDeque,
    ffi::OsString,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use super::{Message, Request, WorkerEnvironment, WorkerError, family, private_cache};
use crate::{BuildEvent, BuildRequest, Error, PlanRequest, Planned, Reporter};

/// How long a worker may take to end after its answer, and its last words to arrive.
const FAREWELL: Duration = Duration::from_secs(10);
/// How many lines of its stderr are kept for the case that it dies.
const LAST_WORDS: usize = 30;

/// How a worker is started: each request has a process of its own, which ends with it.
///
/// Dropping the future of a request kills the worker and all its descendants.
#[derive(Clone, Debug)]
pub struct Worker {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: WorkerEnvironment,
}

impl Worker {
    /// A worker that runs `program` with `arguments`, whose `main` must call [`serve`](super::serve).
    pub fn new(program: PathBuf, arguments: Vec<OsString>, environment: WorkerEnvironment) -> Self {
        Self {
            program,
            arguments,
            environment,
        }
    }

    /// Plans in a worker, as [`plan`](crate::plan()) does.
    ///
    /// # Errors
    /// Those of [`plan`](crate::plan()), and those of the worker.
    pub async fn plan(&self, request: PlanRequest) -> Result<Planned, Error> {
        let trace = |event| tracing::info!(?event, "the worker says");
        match self.ask(Request::Plan(request), trace).await? {
            Message::Planned(planned) => Ok(*planned),
            other => Err(unexpected("a plan", &other)),
        }
    }

    /// Builds and tests in a worker. What goes wrong with a package is an event: packages that don't need it go on.
    ///
    /// On return `OUTPUT/<mode>/packages` holds exactly the good packages of the plan: no file of another plan, none that failed.
    ///
    /// # Errors
    /// The plan cannot be made, or is not the expected one; the output folder cannot be written; the worker fails.
    pub async fn build(&self, request: BuildRequest, reporter: &dyn Reporter) -> Result<(), Error> {
        let request = Request::Build {
            request,
            shared_cache: self.environment.cache().map(ToOwned::to_owned),
        };
        match self.ask(request, |event| reporter.report(event)).await? {
            Message::Built => Ok(()),
            other => Err(unexpected("the end of the build", &other)),
        }
    }

    /// Sends the request and hands on events until the answer.
    async fn ask(
        &self,
        request: Request,
        mut event: impl FnMut(BuildEvent),
    ) -> Result<Message, Error> {
        let mut running = self.start(&request)?;
        let result = running.converse(&request, &mut event).await;
        let answer = match result {
            Ok(Some(answer)) => answer,
            Ok(None) => return Err(running.last_words().await.into()),
            // Neither text nor a message of ours.
            Err(source) if source.kind() == std::io::ErrorKind::InvalidData => {
                let reason = format!("expected a message, found what is none: {source}");
                return Err(WorkerError::Protocol { reason }.into());
            }
            Err(source) => return Err(self.cannot_run(source).into()),
        };
        running.end().await;
        match answer {
            Message::Failed(failure) => Err(WorkerError::Refused(failure).into()),
            answer => Ok(answer),
        }
    }

    fn start(&self, request: &Request) -> Result<Running, WorkerError> {
        let plan = request.plan();
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.variables())
            .env("HOME", plan.output.join("home"))
            .env("RATTLER_CACHE_DIR", private_cache(&plan.output))
            .current_dir(&plan.root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(windows)]
        command.env("USERPROFILE", plan.output.join("home"));
        let child = command.spawn().map_err(|source| self.cannot_run(source))?;
        Ok(Running {
            child,
            stderr: Arc::default(),
            listener: None,
        })
    }

    fn cannot_run(&self, source: std::io::Error) -> WorkerError {
        WorkerError::Start {
            program: self.program.display().to_string(),
            source,
        }
    }
}

/// A worker process. Dropped before it has ended, it is killed with its descendants.
struct Running {
    child: Child,
    stderr: Arc<Mutex<VecDeque<String>>>,
    listener: Option<JoinHandle<()>>,
}

impl Running {
    /// The answer, or `None` when the worker ends without one.
    async fn converse(
        &mut self,
        request: &Request,
        event: &mut impl FnMut(BuildEvent),
    ) -> std::io::Result<Option<Message>> {
        if let Some(stderr) = self.child.stderr.take() {
            self.listener = Some(tokio::spawn(listen(stderr, Arc::clone(&self.stderr))));
        }
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        if let Some(stdin) = &mut self.child.stdin {
            // A worker that is dead already says why on stderr.
            let _died: std::io::Result<()> = stdin.write_all(&line).await;
            let _died: std::io::Result<()> = stdin.flush().await;
        }
        let Some(stdout) = self.child.stdout.take() else {
            return Ok(None);
        };
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            let message = serde_json::from_str(&line)
                .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))?;
            match message {
                Message::Event(happened) => event(*happened),
                answer => return Ok(Some(answer)),
            }
        }
        Ok(None)
    }

    /// Lets the worker end by itself. Its stdin stays open till then: what it leaves running is the parent's to report.
    async fn end(mut self) {
        let stdin = self.child.stdin.take();
        let _ended = timeout(FAREWELL, self.child.wait()).await;
        drop(stdin);
    }

    /// Why the worker is dead.
    async fn last_words(mut self) -> WorkerError {
        let status = match timeout(FAREWELL, self.child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it closed its stdout and runs on".to_owned(),
        };
        // A process that the dead worker left may hold its stderr open.
        if let Some(listener) = &mut self.listener {
            let _enough: Result<_, _> = timeout(FAREWELL, listener).await;
        }
        let stderr = self
            .stderr
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect();
        WorkerError::Died { status, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // No id: it has ended and been reaped.
        if let Some(pid) = self.child.id() {
            family::end_worker(pid);
        }
    }
}

async fn listen(stderr: impl AsyncRead + Unpin, heard: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() == LAST_WORDS {
            heard.pop_front();
        }
        heard.push_back(String::from_utf8_lossy(&line).into_owned());
    }
}

fn unexpected(expected: &str, found: &Message) -> Error {
    let found = match found {
        Message::Event(_) => "an event",
        Message::Planned(_) => "a plan",
        Message::Built => "the end of a build",
        Message::Failed(_) => "a failure",
    };
    WorkerError::Protocol {
        reason: format!("expected {expected}, found {found}"),
    }
    .into()
}
