use klp_extract::kernel::*;
use klp_extract::prepare;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let t = std::time::Instant::now();
    match a[1].as_str() {
        "debian" => match prepare::debian(&a[2], false, &mut |l| eprintln!("{:?} {l}", t.elapsed())) {
            Ok(d) => println!("{d:#?} {:?}", t.elapsed()),
            Err(e) => println!("{e}"),
        },
        "local" => {
            let o = prepare::LocalOptions {
                name: a[2].clone(),
                source: a[3].clone().into(),
                build: a[4].clone().into(),
                image: a.get(5).map(Into::into),
                ..Default::default()
            };
            match prepare::local(&o, &mut |l| eprintln!("{:?} {l}", t.elapsed())) {
                Ok(d) => println!("{d:#?} {:?}", t.elapsed()),
                Err(e) => println!("{e}"),
            }
        }
        "doctor" => {
            let rows = prepare::doctor();
            for r in &rows {
                println!("{:20} {:?}", r.name, r.found)
            }
            println!("{:?} {:?}", prepare::install_line(&rows), t.elapsed());
            println!("{:?}", prepare::kernels::list().unwrap());
        }
        "open" => {
            let k = match Kernel::open(&a[2]) {
                Ok(k) => k,
                Err(e) => {
                    println!("{e}");
                    return;
                }
            };
            println!("open {:?}", t.elapsed());
            for s in ["net/unix/af_unix.c", "net/vmw_vsock/af_vsock.c", "arch/x86/kvm/svm/svm.c", "nothing.c"] {
                println!(
                    "{s} {:?}",
                    k.commands_for(s)
                        .unwrap()
                        .iter()
                        .map(|c| (&c.object[..], c.args.len()))
                        .collect::<Vec<(&str, usize)>>()
                        .len()
                );
                println!("{:?}", t.elapsed());
            }
            let s = k.symbols("vmlinux").unwrap();
            println!("{} {} {:?}", s.all().len(), s.all().iter().filter(|s| s.is_function()).count(), t.elapsed());
            println!("exports {} {:?}", k.exports().unwrap().len(), t.elapsed());
            println!("modules {} {:?}", k.modules().unwrap().names().count(), t.elapsed());
            println!("hashes {:?} {:?}", k.hashes().unwrap(), t.elapsed());
            println!("vsock {:?}", k.modules().unwrap().dependencies("vmw_vsock_virtio_transport").unwrap());
            let names: std::collections::BTreeSet<String> =
                k.modules().unwrap().names().map(|s| s.to_string()).collect();
            let all = k.all_commands().unwrap();
            let mut bad = 0;
            for c in &all {
                if c.object != "vmlinux" && !names.contains(&c.object) {
                    bad += 1;
                    println!("no module {} {}", c.object, c.source)
                }
                if !k.source().join(&c.source).is_file() {
                    println!("no source {}", c.source)
                }
            }
            println!("{} commands {bad} bad; {:?}", all.len(), t.elapsed());
            let mut n = 0;
            for m in &names {
                n += k.symbols(m).unwrap().all().len()
            }
            println!("{n} module symbols {:?}", t.elapsed());
            let objs: std::collections::BTreeSet<&str> = all.iter().map(|c| &c.object[..]).collect();
            for m in &names {
                if !objs.contains(&m[..]) {
                    println!("module without commands {m}")
                }
            }
        }
        _ => {}
    }
}
