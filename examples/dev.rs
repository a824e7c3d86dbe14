use klp_extract::{kernel::command::CompileCommand, unit};
use std::path::Path;
fn main() {
    let maken = std::fs::read_to_string("/var/tmp/dev/maken.txt").unwrap();
    let want: Vec<String> = std::env::args().skip(1).collect();
    let mut all = vec![];
    for line in maken.lines() {
        let Some(p) = line.find("gcc -Wp,-MMD") else { continue };
        let Some(e) = line.find(" -c -o ") else { continue };
        if e < p {
            continue;
        }
        if !line.contains("-DKBUILD_MODNAME") || !line.contains("echo '  CC ") {
            continue;
        }
        let mut w = line[p..].split(" -c -o ").nth(1).unwrap().split_whitespace();
        let out = w.next().unwrap();
        let src = w.next().unwrap().trim_end_matches(';');
        let args: Vec<String> = shlex::split(&line[p..e]).unwrap().into_iter().skip(2).collect();
        all.push(CompileCommand {
            source: src.into(),
            output: out.into(),
            compiler: "gcc".into(),
            args,
            object: "vmlinux".into(),
        });
    }
    eprintln!("{} commands", all.len());
    let build = Path::new("/var/tmp/dev/kb");
    let sel: Vec<_> = if let Ok(n) = want[0].parse::<usize>() {
        all.iter().step_by(n).collect()
    } else {
        all.iter().filter(|c| want.iter().any(|w| c.output == *w)).collect()
    };
    let mut bad = 0;
    for c in &sel {
        let t = std::time::Instant::now();
        match unit::expanded(c, build) {
            Ok(mut u) => {
                let e = t.elapsed();
                let t = std::time::Instant::now();
                let o = unit::groups::Outline::new(&mut u);
                if sel.len() < 5 {
                    eprintln!(
                        "{} tokens {} statements {} groups {} {:?} outline {:?}",
                        c.output,
                        u.tokens.len(),
                        o.statements.len(),
                        o.groups.len(),
                        e,
                        t.elapsed()
                    );
                }
            }
            Err(e) => {
                bad += 1;
                eprintln!("{e}")
            }
        }
    }
    eprintln!("{} of {} bad", bad, sel.len());
}
