//! argv -> exit code.
fn main() -> Result<(), pointsman::Error> {
    pointsman::role();
    let args: Vec<_> = std::env::args().skip(1).collect();
    let settings = pointsman::Settings::new(&args[2])
        .args(&args[3..])
        .workers(args[0].parse().unwrap())
        .listen(args[1].parse().unwrap());
    pointsman::Cluster::new(settings)?.run(|_, event| eprintln!("{event:?}"))
}
