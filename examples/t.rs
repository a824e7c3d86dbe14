use klp_extract::kernel::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let t = std::time::Instant::now();
    match a[1].as_str() {
        "image" => {
            let i = image::read(a[2].as_ref()).unwrap();
            eprintln!("{:?} {} {:?}", i.banner, i.symbols.len(), t.elapsed());
            print!("{}", kallsyms_text(&i.symbols));
        }
        "make" => {
            let text = std::fs::read_to_string(&a[2]).unwrap();
            let trees = commands::Trees { source: a[3].as_ref(), build: a[4].as_ref() };
            let c = commands::from_make_output(&text, trees, "/none".as_ref()).unwrap();
            let j = commands::to_json(&c);
            std::fs::write("/tmp/klp-c.json", &j).unwrap();
            eprintln!("{} {} {:?}", c.len(), j.len(), t.elapsed());
            let t = std::time::Instant::now();
            let r = commands::Commands::read("/tmp/klp-c.json".as_ref()).unwrap();
            eprintln!("{:?} {:?}", r.of("net/unix/af_unix.c").len(), t.elapsed());
            for c in c {
                println!("{} {} {} {}", c.source, c.output, c.object, c.args.len())
            }
        }
        "debian" => match klp_extract::prepare::debian(&a[2], false, &mut |l| eprintln!("{:?} {l}", t.elapsed())) {
            Ok(d) => println!("{d:#?} {:?}", t.elapsed()),
            Err(e) => println!("{e}"),
        },
        _ => {}
    }
}
