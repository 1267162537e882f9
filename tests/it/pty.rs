//! At a terminal: prompt, interrupt, job control, end of input, exit code. Each dialogue is held
//! with real Apptainer and with skiff under that name.

use skiff_tests::image::images;
use skiff_tests::program::{self, Program};
use skiff_tests::pty::Terminal;
use skiff_tests::require;
use skiff_tests::user::ordinary;

/// Both programs as tests of one dialogue.
macro_rules! dialogues {
    ($($dialogue:ident: $apptainer:ident, $skiff:ident;)+) => {
        $(
            #[test]
            fn $apptainer() {
                require!(stringify!($apptainer); Apptainer, Fuse, UserNamespaces);
                $dialogue(program::real_apptainer().expect("required"));
            }
            #[test]
            fn $skiff() {
                require!(stringify!($skiff); Skiff, Apptainer, Fuse, UserNamespaces);
                $dialogue(program::skiff().expect("required"));
            }
        )+
    };
}

dialogues! {
    shell_and_exit_code: apptainer_shell, skiff_shell;
    interrupt_leaves_the_shell: apptainer_interrupt, skiff_interrupt;
    jobs_stop_and_go_on: apptainer_jobs, skiff_jobs;
    end_of_input: apptainer_end_of_input, skiff_end_of_input;
    interrupted_exec: apptainer_interrupted_exec, skiff_interrupted_exec;
    exec_sees_the_terminal: apptainer_terminal, skiff_terminal;
    chosen_shell: apptainer_chosen_shell, skiff_chosen_shell;
    contained_shell: apptainer_contained_shell, skiff_contained_shell;
}

fn terminal(program: &Program, name: &str, args: &[&str]) -> Terminal {
    let images = images(program::real_apptainer().expect("required"));
    let mut cmd = ordinary().command(program.called(name));
    let sif = images.sif.display().to_string();
    cmd.args(
        args.iter()
            .map(|arg| if *arg == "IMAGE" { sif.as_str() } else { *arg }),
    );
    cmd.cwd("/tmp").env("LC_ALL", "C");
    Terminal::start(&mut cmd).expect("a terminal")
}

fn shell_and_exit_code(program: &Program) {
    let mut terminal = terminal(program, "apptainer", &["shell", "IMAGE"]);
    terminal.until("Apptainer> ").expect("a prompt");
    terminal
        .send("echo $((6*7)) in $APPTAINER_NAME; stty size; tty\n")
        .expect("typed");
    terminal
        .until("42 in full.sif\r\n24 120\r\n/dev/pts/")
        .expect("answers");
    terminal.until("Apptainer> ").expect("the next prompt");
    terminal.send("exit 7\n").expect("typed");
    assert_eq!(terminal.end().expect("an end"), 7);
}

fn interrupt_leaves_the_shell(program: &Program) {
    let mut terminal = terminal(program, "apptainer", &["shell", "IMAGE"]);
    terminal.until("Apptainer> ").expect("a prompt");
    terminal.send("echo go; sleep 1000\n").expect("typed");
    terminal.until("\ngo\r\n").expect("started");
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.send("\x03").expect("typed");
    terminal.until("Apptainer> ").expect("the shell lives");
    terminal.send("echo code $?\n").expect("typed");
    terminal
        .until("\ncode 130\r\n")
        .expect("the sleep was interrupted");
    // At the prompt it only drops the line. Typed earlier it would be the terminal's to handle.
    terminal.until("Apptainer> ").expect("another prompt");
    // The prompt shows a moment before the shell takes the terminal over.
    std::thread::sleep(std::time::Duration::from_millis(700));
    terminal.send("half a line").expect("typed");
    terminal.until("half a line").expect("taken by the shell");
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.send("\x03").expect("typed");
    terminal.until("Apptainer> ").expect("a fresh line");
    terminal.send("exit 3\n").expect("typed");
    assert_eq!(terminal.end().expect("an end"), 3);
}

fn jobs_stop_and_go_on(program: &Program) {
    let mut terminal = terminal(program, "apptainer", &["shell", "IMAGE"]);
    terminal.until("Apptainer> ").expect("a prompt");
    terminal.send("echo go; sleep 1000\n").expect("typed");
    terminal.until("\ngo\r\n").expect("started");
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.send("\x1a").expect("typed");
    terminal.until("Stopped").expect("stopped");
    terminal.until("Apptainer> ").expect("a prompt");
    terminal.send("jobs\n").expect("typed");
    terminal.until("Stopped").expect("listed");
    terminal.send("bg\n").expect("typed");
    terminal.until("sleep 1000 &").expect("in the background");
    terminal.send("fg\n").expect("typed");
    terminal.until("sleep 1000\r\n").expect("in the foreground");
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.send("\x03").expect("typed");
    terminal.until("Apptainer> ").expect("a prompt");
    terminal
        .send("jobs; echo none left; exit\n")
        .expect("typed");
    terminal.until("\nnone left\r\n").expect("no job");
    assert_eq!(terminal.end().expect("an end"), 0);
}

fn end_of_input(program: &Program) {
    let mut terminal = terminal(program, "apptainer", &["shell", "IMAGE"]);
    terminal.until("Apptainer> ").expect("a prompt");
    terminal.send("(exit 5)\n").expect("typed");
    terminal.until("Apptainer> ").expect("a prompt");
    terminal.send("\x04").expect("typed");
    assert_eq!(
        terminal.end().expect("an end"),
        5,
        "the code of the last command"
    );
}

fn interrupted_exec(program: &Program) {
    let script = "echo ready; sleep 1000";
    let mut terminal = terminal(program, "apptainer", &["exec", "IMAGE", "sh", "-c", script]);
    terminal.until("ready\r\n").expect("started");
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.send("\x03").expect("typed");
    assert_eq!(terminal.end().expect("an end"), 130);
}

fn exec_sees_the_terminal(program: &Program) {
    let script = "test -t 0 && test -t 1 && test -t 2 && echo terminal; read a; echo got $a";
    let mut terminal = terminal(program, "apptainer", &["exec", "IMAGE", "sh", "-c", script]);
    terminal.until("terminal\r\n").expect("all three");
    terminal.send("typed words\n").expect("typed");
    terminal.until("got typed words\r\n").expect("read");
    assert_eq!(terminal.end().expect("an end"), 0);
}

fn chosen_shell(program: &Program) {
    let mut terminal = terminal(program, "apptainer", &["shell", "-s", "/bin/sh", "IMAGE"]);
    terminal.until("Apptainer> ").expect("a prompt");
    terminal.send("echo $0; exit 2\n").expect("typed");
    terminal.until("\n/bin/sh\r\n").expect("that shell");
    assert_eq!(terminal.end().expect("an end"), 2);
}

fn contained_shell(program: &Program) {
    let mut terminal = terminal(program, "apptainer", &["shell", "-C", "IMAGE"]);
    terminal.until("Apptainer> ").expect("a prompt");
    terminal
        .send("echo $$ >/dev/tty; ls -A ~; echo t >/dev/pts/0 || echo no pts; exit 4\n")
        .expect("typed");
    assert_eq!(terminal.end().expect("an end"), 4);
}

/// Under its own name skiff has its own prompt.
#[test]
fn own_prompt() {
    require!("prompt of skiff"; Skiff, Apptainer, Fuse, UserNamespaces);
    let mut terminal = terminal(
        program::skiff().expect("required"),
        "skiff",
        &["shell", "IMAGE"],
    );
    terminal.until("skiff> ").expect("a prompt");
    terminal.send("exit 6\n").expect("typed");
    assert_eq!(terminal.end().expect("an end"), 6);
}

/// The first example, as it is typed.
#[test]
fn bind_and_cat() {
    require!("apptainer exec -B"; Skiff, Apptainer, Fuse, UserNamespaces);
    let images = images(program::real_apptainer().expect("required"));
    let folder = std::env::temp_dir().join(format!("skiff-bind-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("src")).expect("fresh");
    std::fs::write(folder.join("src/x"), "bound\n").expect("fresh");
    let program = program::skiff().expect("required");
    let outcome = ordinary()
        .command(program.called("apptainer"))
        .cwd(&folder)
        .args(["exec", "-B", "src:/data"])
        .arg(&images.sif)
        .args(["cat", "/data/x"])
        .run()
        .expect_success("apptainer exec -B src:/data");
    assert_eq!(outcome.stdout_text(), "bound\n");
    std::fs::remove_dir_all(&folder).expect("ours");
}
