//! The `skiff` program: one binary, also called as `apptainer`, `singularity` or `run-singularity`.

fn main() -> std::process::ExitCode {
    skiff::main()
}
