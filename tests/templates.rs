//! The emitted module folder's `Kbuild` and `Makefile`, rendered as `render` does.

use std::collections::BTreeMap;

use klp_extract::process::Program;

fn render(template: &str, objects: &[(&str, &str)]) -> String {
    let objects: Vec<BTreeMap<&str, &str>> =
        objects.iter().map(|(name, cflags)| BTreeMap::from([("name", *name), ("cflags", *cflags)])).collect();
    let mut context = tera::Context::new();
    context.insert("name", "livepatch-x");
    context.insert("kernel", "6.1.0-47-cloud-amd64");
    context.insert("objects", &objects);
    context.insert("compiler", "gcc-12");
    context.insert("kallsyms", &false);
    context.insert("variables", &BTreeMap::<String, String>::new());
    let mut tera = tera::Tera::default();
    tera.add_raw_template("t", template).unwrap();
    tera.render("t", &context).unwrap()
}

const KBUILD: &str = include_str!("../templates/Kbuild");
const MAKEFILE: &str = include_str!("../templates/Makefile");

#[test]
fn one_object_needs_no_list_and_several_keep_their_flags() {
    let one = render(KBUILD, &[]);
    assert!(one.contains("\nobj-m := livepatch-x.o\n\n#") && !one.contains("-objs"), "{one}");
    let two = render(KBUILD, &[("livepatch-x-main.o", ""), ("net-unix-garbage.o", "-DX -I$(src)/y")]);
    assert!(
        two.contains("\nobj-m := livepatch-x.o\nlivepatch-x-objs := livepatch-x-main.o net-unix-garbage.o\n"),
        "{two}"
    );
    let flags = "ccflags-y := -Werror -fno-optimize-sibling-calls -fno-reorder-blocks-and-partition\n";
    assert!(two.ends_with(&format!("{flags}CFLAGS_net-unix-garbage.o := -DX -I$(src)/y\n")), "{two}");
    assert!(one.ends_with(flags), "{one}");
}

#[test]
fn make_says_which_kernel_is_missing_and_cleans_without_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Makefile"), render(MAKEFILE, &[])).unwrap();
    std::fs::write(folder.path().join("x.o"), "").unwrap();
    let make = |args: &[&str]| Program::new("make").arg("-C").arg(folder.path()).args(args).output().unwrap();
    let without = make(&["KLP_EXTRACT=false"]);
    let error = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(!without.success && error.contains("no build folder of kernel 6.1.0-47-cloud-amd64"), "{error}");
    assert!(make(&["KLP_EXTRACT=false", "clean"]).success);
    assert!(!folder.path().join("x.o").exists());
    std::fs::write(folder.path().join("klp.symbols"), "").unwrap();
    // `true` stands for both tools: the steps and their order.
    let plan = make(&["-n", "-j2", "KLP_EXTRACT=true", "KDIR=/kernel", "MAKE=true"]);
    let steps = String::from_utf8_lossy(&plan.stdout).into_owned();
    let at = |word: &str| steps.find(word).unwrap_or_else(|| panic!("{word} in {steps}"));
    assert!(at("symvers klp.symbols > klp.symvers.tmp") < at("-C /kernel M="), "{steps}");
    assert!(steps.contains(" CC=gcc-12 KBUILD_EXTRA_SYMBOLS="), "{steps}");
    assert!(at("KBUILD_EXTRA_SYMBOLS=") < at("true link livepatch-x.ko --symbols klp.symbols"), "{steps}");
}
