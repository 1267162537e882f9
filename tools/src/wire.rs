//! Joins the file system to the launcher: the only place that knows both.
//!
//! [`Provider`] is what a launch asks for its root; [`FuseBackend`] is what the holder, a process
//! of the same program, keeps mounted for it.

pub(crate) mod access_log;
mod locked;
mod refusal;

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use skiff_cache::disk::DIRECTORY_VARIABLE;
use skiff_fs::format::sif;
use skiff_fs::format::squashfs::{Squashfs, SquashfsOptions};
use skiff_fs::fuse::connection;
use skiff_fs::fuse::handler::{FileSystem, Owners, RootLayout};
use skiff_fs::fuse::{session, standin};
use skiff_fs::image::Image;
use skiff_fs::remote::Observer;
use skiff_fs::source::{CachedSource, Source as _, Window, placement};
use skiff_fs::tree::TreeError;
use skiff_fs::view::Point;
use skiff_launcher::holder::client::{self, Target};
use skiff_launcher::holder::control::{self, Refused, ServerControl, Stream};
use skiff_launcher::holder::keeper::{Backend, ServerStart};
use skiff_launcher::holder::key::HolderKey;
use skiff_launcher::holder::supervise::Start;
use skiff_launcher::idmap::IdMap;
use skiff_launcher::rootfs::{BindPoint, BindPointKind, Rootfs, RootfsProvider, ServedLayer};

use crate::remote::voice::{self, Herald, Quiet, Streams};
use crate::remote::{self, Opened, RemoteImage};
use crate::settings;
use locked::LockedImage;
use refusal::{Hope, RETRY, Refusal, hopeless};

/// Threads that answer the kernel, and threads that decode ahead, at most: one per core, but
/// metadata-bound readers gain nothing from more than a few.
const MAX_THREADS: usize = 16;

/// Threads that serve a layer beside the root.
const MAX_LAYER_THREADS: usize = 4;

/// What launches mount upon where the image has it, so that it is no bind point of theirs.
const OPTIONAL_DESTINATIONS: [&str; 4] = ["/tmp", "/var/tmp", "/etc/passwd", "/etc/group"];

/// An image that is served: a file of this machine, or the description of one that is elsewhere.
#[derive(Debug)]
pub enum Served {
    /// Opened by whoever asked for it.
    Here(Box<Image>),
    /// To be opened by the server, which alone has threads and talks to networks.
    Elsewhere(Box<RemoteImage>),
}

impl Served {
    /// What a holder was sent.
    ///
    /// # Errors
    /// When it is no image.
    pub fn of_starter(file: OwnedFd, path: &Path) -> io::Result<Self> {
        let file = File::from(file);
        if let Some(locked) = LockedImage::unseal(&file)? {
            return locked.open().map(|image| Self::Here(Box::new(image)));
        }
        match RemoteImage::unseal(&file)? {
            Some(remote) => Ok(Self::Elsewhere(Box::new(remote))),
            None => Image::from_file(file, path)
                .map(|image| Self::Here(Box::new(image)))
                .map_err(io::Error::other),
        }
    }

    /// The image's name, for people.
    pub fn path(&self) -> &Path {
        match self {
            Self::Here(image) => image.path(),
            Self::Elsewhere(remote) => Path::new(remote.name()),
        }
    }

    /// The key under which launches share the mount.
    ///
    /// # Errors
    /// When the image or /proc cannot be looked at.
    pub fn holder_key(&self) -> io::Result<HolderKey> {
        match self {
            Self::Here(image) => HolderKey::new(&file_of(image)?.metadata()?, image.offset()),
            Self::Elsewhere(remote) => match &remote.content_key {
                None => HolderKey::of_identity(&remote.resolved.key),
                // Whoever has no key must not meet the mount of who has.
                Some(_) => HolderKey::of_identity(&format!("{} unlocked", remote.resolved.key)),
            },
        }
    }

    /// Tells the server which cache directory is the user's: in the server's user namespace nobody
    /// can see any more whom the directories above it belong to.
    fn cache_variables(&self) -> Vec<(&'static str, OsString)> {
        let is_far = match self {
            Self::Here(image) => image.file().is_some_and(placement::is_far),
            Self::Elsewhere(_) => true,
        };
        let cache = is_far.then(remote::own_cache).flatten();
        // The server works in another directory.
        let dir = cache.and_then(|cache| std::path::absolute(cache.dir()).ok());
        dir.map(|dir| (DIRECTORY_VARIABLE, dir.into_os_string()))
            .into_iter()
            .collect()
    }

    /// Opens it in a process that may have threads.
    fn open(&self) -> io::Result<Opened> {
        match self {
            Self::Elsewhere(remote) => {
                let observer: Arc<dyn Observer> = Arc::new(Quiet::new(remote));
                // With its causes, as one line.
                let open = remote.open(&observer);
                open.map_err(|error| io::Error::other(format!("{error:#}")))
            }
            Self::Here(image) => {
                let file = file_of(image)?.try_clone()?;
                let key = image.content_key().cloned();
                let image = Image::from_file(file, image.path()).map_err(io::Error::other)?;
                Opened::nearby(image.with_content_key(key))
            }
        }
    }
}

fn file_of(image: &Image) -> io::Result<&File> {
    image.file().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Gives launches the mounted tree of an image, through its holder.
#[derive(Debug)]
pub struct Provider<'a> {
    served: Option<&'a Served>,
}

impl<'a> Provider<'a> {
    /// A provider of the tree of `served`; without, only of layers.
    pub const fn new(served: Option<&'a Served>) -> Self {
        Self { served }
    }
}

impl RootfsProvider for Provider<'_> {
    fn serve_layer(&mut self, layer: &ServedLayer<'_>, device: OwnedFd) -> io::Result<()> {
        let file = File::from(layer.file.try_clone_to_owned()?);
        let image = Image::from_file(file, layer.path).map_err(io::Error::other)?;
        let window = Window::new(image.source(), layer.offset, layer.size);
        let window = window.ok_or(io::ErrorKind::UnexpectedEof)?;
        let tree = Squashfs::open(Arc::new(window), SquashfsOptions::default())
            .map_err(io::Error::other)?;
        connection::handshake(device.as_fd())?;
        // One layer of one container: it has not the readers of a root.
        let threads = thread_count().min(MAX_LAYER_THREADS);
        let siblings = (1..threads)
            .map_while(|_| connection::clone_device(device.as_fd()).ok())
            .collect::<Vec<_>>();
        let devices = std::iter::once(device).chain(siblings).collect();
        let owners = FuseBackend::container_owners(layer.ids);
        let answers = FileSystem::new(Arc::new(tree), owners, RootLayout::Image, threads);
        session::serve(&Arc::new(answers), devices)
    }

    fn provide(
        &mut self,
        points: &[BindPoint],
        ids: Option<&IdMap>,
    ) -> Result<Rootfs, Box<dyn Error + Send + Sync>> {
        let served = self.served.ok_or("there is no image to mount")?;
        let sealed;
        let image = match served {
            Served::Here(image) => match LockedImage::of(image)? {
                Some(locked) => {
                    sealed = locked.seal()?;
                    sealed.as_fd()
                }
                None => file_of(image)?.as_fd(),
            },
            Served::Elsewhere(remote) => {
                sealed = remote.seal()?;
                sealed.as_fd()
            }
        };
        let log = access_log::wanted()?;
        let mut key = served.holder_key()?.with_ids(ids);
        if log.is_some() {
            // What another's programs have read would not be read again.
            key = key.alone();
        }
        let target = Target {
            key,
            ids: ids.cloned(),
            image,
            path: served.path(),
            program: PathBuf::from("/proc/self/exe"),
            variables: &|| {
                let adopted = settings::adopt();
                adopted.map_err(|error| io::Error::other(format!("{error:#}")))?;
                let log = log.clone().map(|path| (access_log::VARIABLE, path.into()));
                Ok(served.cache_variables().into_iter().chain(log).collect())
            },
        };
        Ok(client::join(&target, points)?)
    }
}

/// One connection to the kernel with everything a new server needs to answer on it.
#[derive(Debug)]
pub struct FuseBackend {
    served: Arc<Served>,
    owners: Owners,
    layout: RootLayout,
    /// One per thread; empty before the mount.
    devices: Vec<OwnedFd>,
    /// Requests of a dead server can be had again.
    resend: bool,
}

impl FuseBackend {
    /// Will serve `served`.
    pub fn new(served: Served, owners: Owners, layout: RootLayout) -> Self {
        Self {
            served: Arc::new(served),
            owners,
            layout,
            devices: Vec::new(),
            resend: false,
        }
    }

    /// Owners as a container shows them: where its user namespace has one id alone, all files are
    /// that one's; for root, and where there are others, they are what the image says.
    pub fn container_owners(ids: Option<&IdMap>) -> Owners {
        let (uid, gid) = match ids {
            None if rustix::process::geteuid().is_root() => return Owners::Recorded,
            None => IdMap::own().ids(),
            Some(ids) if ids.is_single() => ids.ids(),
            Some(_) => return Owners::Recorded,
        };
        Owners::All { uid, gid }
    }

    /// Takes `device`, whose connection is mounted, through the handshake and opens its siblings.
    ///
    /// # Errors
    /// What the kernel reports.
    pub fn adopt(&mut self, device: OwnedFd) -> io::Result<()> {
        let negotiated = connection::handshake(device.as_fd())?;
        self.resend = negotiated.resend;
        // The holder keeps every device open: closing one would end the requests taken from it.
        let siblings = (1..thread_count().max(2))
            .map_while(|_| connection::clone_device(device.as_fd()).ok())
            .collect::<Vec<_>>();
        self.devices = std::iter::once(device).chain(siblings).collect();
        Ok(())
    }

    /// Checks that the image can be served, before anything is mounted. One that is elsewhere was
    /// opened by its starter already.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> io::Result<()> {
        match &*self.served {
            Served::Here(image) => image
                .tree(&SquashfsOptions::default())
                .map(drop)
                .map_err(io::Error::other),
            Served::Elsewhere(_) => Ok(()),
        }
    }

    /// Mounts on `target` by mount(2).
    ///
    /// # Errors
    /// Worded for the user.
    pub fn mount_at(&mut self, target: &Path) -> io::Result<()> {
        self.check()?;
        let device = connection::open_device()?;
        let path = self.served.path();
        connection::mount(device.as_fd(), target, path).map_err(|error| {
            let text = format!("mounting {}: {error}; see `skiff doctor`", path.display());
            io::Error::new(error.kind(), text)
        })?;
        self.adopt(device)
    }

    /// The answers, in a process that is to serve, and where their bytes come from.
    fn file_system(
        &self,
        streams: &Streams,
    ) -> io::Result<(Arc<FileSystem>, Option<Arc<CachedSource>>)> {
        let Opened { image, source } = self.served.open()?;
        let tree = image
            .tree(&SquashfsOptions::default())
            .map_err(io::Error::other)?;
        let threads = thread_count();
        let log = access_log::open(tree.as_ref());
        let mut answers = FileSystem::new(tree, self.owners, self.layout, threads);
        if let Some(log) = log {
            answers = answers.with_access_log(log);
        }
        if source.is_some() {
            let herald = Herald::new(self.served.path(), streams);
            answers = answers.with_witness(Box::new(herald));
        }
        let answers = Arc::new(answers);
        if let Some(source) = &source {
            voice::watch(&answers, source, self.served.path());
            // What programs read at first lies together: it need not be asked for piece by piece.
            let profile = image
                .sif()
                .and_then(|sif| sif::image::access_profile(sif, source.as_ref()));
            if let Some(Range { start, end }) = profile {
                let end = end.min(start.saturating_add(remote::most_at_once()));
                source.will_need(start..end);
            }
        }
        Ok((answers, source))
    }

    /// Serves until the mount is gone.
    ///
    /// # Errors
    /// When the image or a device fails.
    pub fn serve_plain(&self, start: Start) -> io::Result<()> {
        if start.hopeless {
            let desk = Refusal::new(None, &hopeless(), Hope::for_a_while());
            return self.stand_in(start, desk, hopeless());
        }
        match self.file_system(&Streams::default()) {
            Ok((file_system, _)) => self.run(&file_system, start),
            Err(error) => {
                let desk = Refusal::new(None, &error, self.hope());
                self.stand_in(start, desk, error)
            }
        }
    }

    fn run(&self, file_system: &Arc<FileSystem>, start: Start) -> io::Result<()> {
        session::serve(file_system, self.take_over(start)?)
    }

    /// The devices, with what a dead server had taken from them.
    fn take_over(&self, start: Start) -> io::Result<Vec<OwnedFd>> {
        let devices = self
            .devices
            .iter()
            .map(OwnedFd::try_clone)
            .collect::<io::Result<Vec<_>>>()?;
        if let (true, true, Some(device)) = (start.restarted, self.resend, devices.first()) {
            connection::resend(device.as_fd())?;
        }
        Ok(devices)
    }

    /// Answers everybody with an error, because of `reason`, until there is `hope`.
    ///
    /// # Errors
    /// When there is: the next server is to try.
    fn stand_in(&self, start: Start, mut desk: Refusal, reason: io::Error) -> io::Result<()> {
        let devices = self.take_over(start)?;
        let herald = Herald::new(self.served.path(), &desk.streams);
        match standin::stand_in(&devices, &TreeError::Source(reason), &herald, &mut desk)? {
            true => Err(io::Error::other("another server may start")),
            false => Ok(()),
        }
    }

    /// Hope that the image can be opened again: tried in a thread, since it may take long.
    fn hope(&self) -> Hope {
        let (found, is_found) = mpsc::channel();
        let served = Arc::clone(&self.served);
        let started = std::thread::Builder::new()
            .name("retry".into())
            .spawn(move || {
                let opens = || {
                    let opened = served.open().ok()?;
                    opened.image.tree(&SquashfsOptions::default()).ok()
                };
                while opens().is_none() {
                    std::thread::sleep(RETRY);
                }
                // Nobody listens where the mount is gone.
                let _gone = found.send(());
            });
        match started {
            Ok(_) => Hope::Found(is_found),
            Err(_) => Hope::for_a_while(),
        }
    }

    fn serve_views(&self, start: ServerStart) -> io::Result<()> {
        raise_descriptor_limit();
        let ServerStart {
            control,
            views,
            start,
            streams,
            root,
        } = start;
        let streams = Streams::new(streams);
        if start.hopeless {
            // The mount must be able to end.
            drop(root);
            let mut desk = Refusal::new(Some(control), &hopeless(), Hope::for_a_while());
            desk.streams = streams;
            return self.stand_in(start, desk, hopeless());
        }
        let (file_system, source) = match self.file_system(&streams) {
            Ok(opened) => opened,
            // Nobody depends on this server yet: whoever asked is told, and may ask again.
            Err(error) if views.is_empty() => {
                let reason = error.to_string();
                while control::refuse(&control, &reason, &mut |_| {}) == Refused::Heard {}
                return Err(error);
            }
            Err(error) => {
                drop(root);
                let mut desk = Refusal::new(Some(control), &error, self.hope());
                desk.streams = streams;
                return self.stand_in(start, desk, error);
            }
        };
        for points in &views {
            file_system
                .add_view(&to_view_points(points))
                .map_err(io::Error::other)?;
        }
        let mut server = ViewServer {
            file_system: Arc::clone(&file_system),
            source,
            root,
            pinned: Vec::new(),
            streams,
        };
        std::thread::Builder::new()
            .name("control".into())
            .spawn(move || {
                for (number, points) in (1..).zip(&views) {
                    // Whoever uses the view meets what is wrong with it.
                    let _unpinned = server.open_view(number, points);
                }
                control::obey(&control, &mut server);
            })?;
        self.run(&file_system, start)
    }
}

impl Backend for FuseBackend {
    fn mount(&mut self, target: &Path) -> io::Result<()> {
        self.mount_at(target)
    }

    fn speaks(&self) -> bool {
        match &*self.served {
            Served::Here(image) => image.file().is_some_and(placement::is_far),
            Served::Elsewhere(_) => true,
        }
    }

    fn serve(&mut self, server: ServerStart) -> io::Result<()> {
        self.serve_views(server)
    }
}

/// What a server does for its holder; lives as long as the holder does.
struct ViewServer {
    file_system: Arc<FileSystem>,
    source: Option<Arc<CachedSource>>,
    /// Root of the mount in the holder's namespace.
    root: OwnedFd,
    /// Bind points of all views, held so that the kernel never looks them up anew.
    pinned: Vec<OwnedFd>,
    /// Where errors may be told.
    streams: Streams,
}

impl ViewServer {
    /// Opens the root of view `number` and has the kernel look up its bind points, here and now,
    /// while nobody else sees them.
    ///
    /// Since Linux 6.16 a name shows to others a moment before it counts as valid (`d_time` is set
    /// after `d_splice_alias` in `fuse_lookup`); whoever walks by in that moment throws it away
    /// again, and with it what another launch has just mounted there.
    fn open_view(&mut self, number: u16, points: &[BindPoint]) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        // The kernel asks for these names at once, and the session's threads of this very process
        // answer: should the process die meanwhile, so does the question.
        let root = rustix::fs::openat(
            &self.root,
            number.to_string(),
            flags | OFlags::DIRECTORY,
            Mode::empty(),
        )?;
        let optional = OPTIONAL_DESTINATIONS.iter().map(Path::new);
        for path in points.iter().map(|point| &*point.path).chain(optional) {
            let resolve = ResolveFlags::IN_ROOT;
            let place = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve);
            // One that cannot exist has nothing to be mounted on it.
            self.pinned.extend(place.ok());
        }
        Ok(root)
    }
}

impl ServerControl for ViewServer {
    fn add_view(&mut self, points: &[BindPoint]) -> io::Result<OwnedFd> {
        let index = self
            .file_system
            .add_view(&to_view_points(points))
            .map_err(io::Error::other)?;
        self.open_view(index.get(), points)
    }

    fn hear(&mut self, stream: Stream) {
        self.streams.add(stream);
    }

    fn statistics(&mut self) -> String {
        let mut figures = serde_json::json!({
            "requests": self.file_system.request_count(),
            "image_bytes": self.file_system.tree().stat().bytes,
            "bytes_read": self.file_system.tree().source_bytes_read(),
        });
        if let (Some(source), Some(object)) = (&self.source, figures.as_object_mut()) {
            let cached = source.figures();
            object.insert("cache".into(), remote::figures_json(&cached));
        }
        figures.to_string()
    }
}

/// Bind points are held by descriptors, some dozen for each view: the usual limit of 1024 is for
/// programs that use select(2).
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Views beyond the limit go unpinned, that is all.
    let _as_before = setrlimit(Resource::Nofile, raised);
}

fn to_view_points(points: &[BindPoint]) -> Vec<Point> {
    points
        .iter()
        .map(|point| Point {
            path: point.path.clone(),
            directory: point.kind == BindPointKind::Directory,
            only_through_directories: point.only_through_directories,
        })
        .collect()
}

/// Cores this process may use, within reason.
fn thread_count() -> usize {
    std::thread::available_parallelism()
        .map_or(2, usize::from)
        .min(MAX_THREADS)
}
