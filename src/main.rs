//! The `ceralacca` command.

fn main() -> std::process::ExitCode {
    ceralacca::cli::run()
}
