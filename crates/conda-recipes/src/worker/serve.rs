//! The worker's side of the pipe.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Message, Request, WorkerError, family, lock::WorkerLock, private_cache};
use crate::{
    BuildEvent, Error, Failure, Reporter, build::build, package_caches::CacheFolders, plan,
    remove::remove_folder,
};

/// Runs this process as a worker until its one request is answered. The first thing that a worker's `main` does.
///
/// Takes stdin and stdout for itself: what anything else in this process, or a process it starts, writes to stdout goes to
/// stderr, and what it reads from stdin is empty.
pub fn serve() -> ExitCode {
    match answer() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The parent shows a dead worker's last words.
            let _nobody_listens = writeln!(io::stderr(), "cannot serve: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer() -> io::Result<()> {
    let (requests, events) = claim_pipes()?;
    family::lead()?;
    let events = Arc::new(Events(Mutex::new(events)));
    let mut requests = BufReader::new(requests);
    let mut line = String::new();
    requests.read_line(&mut line)?;
    let request: Request = serde_json::from_str(&line)?;
    die_with_parent(requests.into_inner())?;
    end_holders(Arc::clone(&events))?;
    let message = perform(request, &events)
        .unwrap_or_else(|error| Message::Failed(Box::new(Failure::from(&error))));
    events.send(&message)
}

fn perform(request: Request, events: &Events) -> Result<Message, Error> {
    let output = request.plan().output.clone();
    let _lock = WorkerLock::take(&output, || {
        events.report(BuildEvent::Planning {
            message: "waiting for the worker of an earlier run to end".to_owned(),
        });
    })?;
    renew_home(&output.join("home"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| WorkerError::Setup {
            path: output.display().to_string(),
            source,
        })?;
    let message = runtime.block_on(async {
        match &request {
            Request::Plan(request) => plan(request)
                .await
                .map(|planned| Message::Planned(Box::new(planned))),
            Request::Build {
                request,
                shared_cache,
            } => {
                let private = private_cache(&output);
                let shared = shared_cache.clone();
                let caches = CacheFolders {
                    shared: shared.unwrap_or_else(|| private.join("remote")),
                    private,
                };
                build(request, &caches, events)
                    .await
                    .map(|()| Message::Built)
            }
        }
    });
    // Nothing that still runs in the background may hold the answer back.
    runtime.shutdown_background();
    message
}

/// A home without what the recipes of an earlier run left there.
fn renew_home(home: &Path) -> Result<(), WorkerError> {
    let setup = |source| WorkerError::Setup {
        path: home.display().to_string(),
        source,
    };
    remove_folder(home)
        .and_then(|()| fs_err::create_dir_all(home))
        .map_err(setup)
}

/// Waits for the end of stdin, which is the end of the parent, and ends all that this process started, and itself.
fn die_with_parent(mut stdin: File) -> io::Result<()> {
    let watch = move || {
        let mut ignored = [0; 64];
        while matches!(stdin.read(&mut ignored), Ok(1..)) {}
        family::end_own();
        std::process::exit(1);
    };
    std::thread::Builder::new()
        .name("parent-watch".to_owned())
        .spawn(watch)
        .map(drop)
}

/// Ends what holds a build up, and says so.
#[cfg(target_os = "linux")]
fn end_holders(events: Arc<Events>) -> io::Result<()> {
    super::background::watch(move |super::Leftover { pid, command }| {
        let message = format!(
            "ended the process {pid} (`{command}`), which a script had left running with its output open"
        );
        events.report(BuildEvent::Warning {
            package: None,
            message,
        });
    })
}

#[cfg(not(target_os = "linux"))]
fn end_holders(_events: Arc<Events>) -> io::Result<()> {
    Ok(())
}

/// The pipe to the parent, which gets one JSON document a line.
struct Events(Mutex<File>);

impl Events {
    fn send(&self, message: &Message) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(&line)
    }
}

impl Reporter for Events {
    fn report(&self, event: BuildEvent) {
        // A parent that no longer reads is gone, and its end is seen on stdin.
        let _nobody_listens: io::Result<()> = self.send(&Message::Event(Box::new(event)));
    }
}

/// Takes the pipes to the parent away from stdin and stdout, under descriptors that no other program inherits.
#[cfg(unix)]
fn claim_pipes() -> io::Result<(File, File)> {
    use rustix::{io::fcntl_dupfd_cloexec, stdio};
    let requests = fcntl_dupfd_cloexec(stdio::stdin(), 3)?;
    let events = fcntl_dupfd_cloexec(stdio::stdout(), 3)?;
    stdio::dup2_stdin(File::open("/dev/null")?)?;
    stdio::dup2_stdout(stdio::stderr())?;
    Ok((requests.into(), events.into()))
}

/// Without a way to move the standard handles safely, a library that printed would be an error of the protocol.
#[cfg(windows)]
fn claim_pipes() -> io::Result<(File, File)> {
    use std::os::windows::io::AsHandle as _;
    let requests = io::stdin().as_handle().try_clone_to_owned()?;
    let events = io::stdout().as_handle().try_clone_to_owned()?;
    Ok((requests.into(), events.into()))
}
