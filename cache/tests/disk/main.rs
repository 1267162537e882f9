//! The disk cache as processes share it: killed, stopped, starved, lied to and spied on.
//!
//! A process of a test is this program again, told by a variable what to do. What needs root says
//! SKIP without it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests may stop, and say what they leave out"
)]

mod child;
mod damage;
mod flight;
mod full;
mod kill;
mod origin;
mod quota;
mod users;

/// Not a test of its own: where processes of the others begin.
#[test]
fn child() {
    let Some(job) = child::Job::from_env() else {
        return;
    };
    match job.role.as_str() {
        "churn" => kill::churn(&job),
        "read-all" => flight::read_all(&job),
        "hang" => flight::hang(&job),
        "roam" => quota::roam(&job),
        "touch" => quota::touch(&job),
        "starved" => full::starved(&job),
        "survive" => damage::survive(&job),
        "make" => users::make(&job),
        "spy" => users::spy(&job),
        "place" => users::place(&job),
        "share" => users::share(&job),
        other => panic!("no role {other}"),
    }
}
