//! `skiff serve IMAGE`: the holder. Started by other skiff processes, never by hand.

use std::process::ExitCode;

use skiff_fs::fuse::handler::RootLayout;
use skiff_launcher::holder::{keeper, summons};

use crate::wire::{FuseBackend, Served};

/// Runs the holder of the image that the starter sends. Nobody reads its words: a failure is told
/// to the starter, or found by the next launch.
pub fn run() -> ExitCode {
    let Ok(mut summons) = summons::accept() else {
        return ExitCode::from(255);
    };
    match summons::detach() {
        Ok(true) => {}
        Ok(false) => return ExitCode::SUCCESS,
        Err(error) => {
            summons.refuse(&format!("fork: {error}"));
            return ExitCode::from(255);
        }
    }
    let served = summons
        .take_image()
        .and_then(|file| Served::of_starter(file, &summons.image_path));
    let served = match served {
        Ok(served) => served,
        Err(error) => {
            summons.refuse(&error.to_string());
            return ExitCode::from(255);
        }
    };
    let owners = FuseBackend::container_owners(summons.ids.as_ref());
    let mut backend = FuseBackend::new(served, owners, RootLayout::Views);
    match keeper::keep(summons, &mut backend) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(255),
    }
}
