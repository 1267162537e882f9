//! Script in, exported variables out.

use super::run;

/// Runs `script` and compares what it exported beside the host's `H=host` and `PATH`.
#[track_caller]
fn check(script: &str, expected: &[(&str, &str)]) {
    let ran = run(
        script,
        &[
            ("H", "host"),
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/home/me"),
        ],
    );
    let mut env = ran.env;
    for known in ["H", "PATH", "HOME"] {
        if !expected.iter().any(|(name, _)| *name == known) {
            env.remove(known);
        }
    }
    let expected = expected
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(env, expected, "{script}");
}

#[test]
fn assignments_and_exports() {
    check("export A=1", &[("A", "1")]);
    check("A=1", &[]);
    check("A=1; export A", &[("A", "1")]);
    check("export A B; A=1", &[("A", "1")]);
    check("export A=1 B=$A", &[("A", "1"), ("B", "1")]);
    check("export A=x; A+=y", &[("A", "xy")]);
    check("export A=1; unset A", &[]);
    check("export A=1; export -n A", &[]);
    check("declare -x A=1", &[("A", "1")]);
    check("\\export A='b c'", &[("A", "b c")]);
    check("export \"A=b c\"", &[("A", "b c")]);
    check("A=1 B=2; export A B", &[("A", "1"), ("B", "2")]);
    check("set -a; A=1; set +a; B=2", &[("A", "1")]);
    check(
        "declare -r A=1; export A; A=2; export B=3",
        &[("A", "1"), ("B", "3")],
    );
    check(
        "export A=1 # comment\n# another\n\n   export B=2",
        &[("A", "1"), ("B", "2")],
    );
    check("export A=1\r\nexport B=2\r\n", &[("A", "1"), ("B", "2")]);
}

#[test]
fn quoting() {
    check(
        "export A='$H' B=\"$H\" C=\\$H D=$'a\\tb\\x41' E=a\\ b",
        &[
            ("A", "$H"),
            ("B", "host"),
            ("C", "$H"),
            ("D", "a\tbA"),
            ("E", "a b"),
        ],
    );
    check("export A=\"a\\\"b\\$c\\\\d\\e\"", &[("A", "a\"b$c\\d\\e")]);
    check("export A=\"one\\\ntwo\"", &[("A", "onetwo")]);
    check("export A=\"one\ntwo\"", &[("A", "one\ntwo")]);
    check("export A=$H'x'\"y\"", &[("A", "hostxy")]);
    check("export A=b*n B=/bi*", &[("A", "b*n"), ("B", "/bi*")]);
    check(
        "export A=~ B=~/x C=a:~/y D='~'",
        &[
            ("A", "/home/me"),
            ("B", "/home/me/x"),
            ("C", "a:/home/me/y"),
            ("D", "~"),
        ],
    );
}

#[test]
fn parameters() {
    check(
        "export A=${X:-def} B=${H:-def} C=${X-} D=${H:+yes} E=${X:+yes}",
        &[
            ("A", "def"),
            ("B", "host"),
            ("C", ""),
            ("D", "yes"),
            ("E", ""),
        ],
    );
    check(
        "export A=\"${X:-\"a  b\"}\" B=${X:-'q'} C=\"${X:-'q'}\"",
        &[("A", "a  b"), ("B", "q"), ("C", "'q'")],
    );
    check(": ${X:=set}; export X", &[("X", "set")]);
    check(": \"${H:=set}\"", &[]);
    check(
        "v=a/b/c; export A=${v#*/} B=${v##*/} C=${v%/*} D=${v%%/*} E=${v//\\//:} F=${v/b/X} G=${#v}",
        &[
            ("A", "b/c"),
            ("B", "c"),
            ("C", "a/b"),
            ("D", "a"),
            ("E", "a:b:c"),
            ("F", "a/X/c"),
            ("G", "5"),
        ],
    );
    check(
        "v=abcdef; export A=${v:2} B=${v:1:3} C=${v: -2} D=${v:0:-1} E=${v^} F=${v^^} G=${v/#ab/X} H=${v/%ef/Y}",
        &[
            ("A", "cdef"),
            ("B", "bcd"),
            ("C", "ef"),
            ("D", "abcde"),
            ("E", "Abcdef"),
            ("F", "ABCDEF"),
            ("G", "Xcdef"),
            ("H", "abcdY"),
        ],
    );
    check("n=H; export A=${!n}", &[("A", "host")]);
    check("X1=a X2=b; export A=\"${!X*}\"", &[("A", "X1 X2")]);
    check(
        "v=grün; export A=${#v} B=${v:2:1}",
        &[("A", "4"), ("B", "ü")],
    );
    check(
        "p='*'; v='a*b'; export A=${v/$p/x} B=${v/\"$p\"/x}",
        &[("A", "x"), ("B", "axb")],
    );
}

#[test]
fn arrays() {
    check(
        "a=(x 'y z' w); export A=${a[1]} B=${#a[@]} C=\"${a[*]}\" D=${a[-1]} E=${!a[*]}",
        &[
            ("A", "y z"),
            ("B", "3"),
            ("C", "x y z w"),
            ("D", "w"),
            ("E", "0 1 2"),
        ],
    );
    check(
        "a=(1 2); a+=(3); a[5]=6; export A=\"${a[@]}\"",
        &[("A", "1 2 3 6")],
    );
    check(
        "declare -A m; m[k]=v; m[x y]=z; export A=${m[k]} B=${m[x y]} C=${#m[@]}",
        &[("A", "v"), ("B", "z"), ("C", "2")],
    );
    check(
        "a=(1 2 3); for i in \"${a[@]:1}\"; do s=$s-$i; done; export s",
        &[("s", "-2-3")],
    );
    check("a=(x); export a; export B=1", &[("B", "1")]);
}

#[test]
fn conditions() {
    check(
        "if [ -z \"$X\" ]; then export A=1; else export A=2; fi",
        &[("A", "1")],
    );
    check(
        "if test -n \"${H:-}\" && [ 1 -lt 2 ]; then export A=1; fi",
        &[("A", "1")],
    );
    check(
        "[ -d /usr ] && export A=dir; [ -f /usr ] || export B=file",
        &[("A", "dir"), ("B", "file")],
    );
    check(
        "[[ $H == h*t && ! -e /nonexistent ]] && export A=1",
        &[("A", "1")],
    );
    check(
        "[[ abc =~ ^a(.)c$ ]] && export A=${BASH_REMATCH[1]}",
        &[("A", "b")],
    );
    check(
        "test -v H && export A=1; test -v X || export B=1",
        &[("A", "1"), ("B", "1")],
    );
    check(
        "[ \"$H\" = host -a ! -z \"$H\" ] && export A=1",
        &[("A", "1")],
    );
    check(
        "case $H in a|b) export A=1 ;; h?st) export A=2 ;; *) export A=3 ;; esac",
        &[("A", "2")],
    );
    check("case ':/a:/b:' in *:/b:*) ;; *) export A=1 ;; esac", &[]);
    check(
        "if false; then :; elif true; then export A=elif; fi",
        &[("A", "elif")],
    );
    check(
        "((1 + 1 == 2)) && export A=$((2 ** 10 % 1000)) B=$((0x10 | 1))",
        &[("A", "24"), ("B", "17")],
    );
}

#[test]
fn loops_and_functions() {
    check(
        "for i in 1 2 3; do [ $i = 3 ] && break; L=$L$i; done; export L",
        &[("L", "12")],
    );
    check(
        "i=0; while [ $i -lt 3 ]; do i=$((i + 1)); [ $i = 2 ] && continue; L=$L$i; done; export L",
        &[("L", "13")],
    );
    check(
        "for ((i = 0; i < 3; i++)); do L=$L$i; done; export L",
        &[("L", "012")],
    );
    check(
        "f() { local x=in; export A=$x$1 N=$#; return 3; }; x=out; f a b; export B=$? C=$x",
        &[("A", "ina"), ("B", "3"), ("C", "out"), ("N", "2")],
    );
    check("function f { export A=$1; }\nf x", &[("A", "x")]);
    check(
        "pathmunge () {\n  case \":${PATH}:\" in\n    *:\"$1\":*) ;;\n    *) PATH=$1:$PATH ;;\n  esac\n}\npathmunge /opt/bin\npathmunge /bin",
        &[("PATH", "/opt/bin:/usr/bin:/bin")],
    );
    check(
        "IFS=:; for d in $PATH; do L=$L-$d; done; export L",
        &[("L", "-/usr/bin-/bin")],
    );
    check(
        "set -- a 'b c'; for x; do L=$L[$x]; done; shift; export L F=$1 C=$#",
        &[("L", "[a][b c]"), ("F", "b c"), ("C", "1")],
    );
}

#[test]
fn commands_and_redirections() {
    check(
        "export A=$(echo hi) B=`echo \"x y\"` C=\"$(printf '%s-%d' a 7)\"",
        &[("A", "hi"), ("B", "x y"), ("C", "a-7")],
    );
    check(
        "export A=$(cat /dev/null; echo one; echo two)",
        &[("A", "one\ntwo")],
    );
    check(
        "export A=$(printf 'a\\nb\\n' | { read x; read y; echo $y$x; })",
        &[("A", "ba")],
    );
    check("echo x | read A; export A", &[("A", "x")]);
    check(
        "export A=$(cat <<E\n$H $((1+1))\nE\n) B=$(cat <<'E'\n$H\nE\n)",
        &[("A", "host 2"), ("B", "$H")],
    );
    check(
        "read A B <<< 'one two three'; export A B",
        &[("A", "one"), ("B", "two three")],
    );
    check("nosuchcommand 2>/dev/null; export A=$?", &[("A", "127")]);
    check(
        "(exit 4); export A=$?; ! true; export B=$?",
        &[("A", "4"), ("B", "1")],
    );
    check(
        "X=1 eval 'export A=$X'; export B=${X-unset}",
        &[("A", "1"), ("B", "unset")],
    );
    check("A=$(false) || export B=$?", &[("B", "1")]);
    check("eval \"export A='b'\"", &[("A", "b")]);
    check("export A=\"$(set)\"", &[("A", "")]);
    check("export A=\"$(command -v echo)\"", &[("A", "echo")]);
    check("H=inner env >/dev/null; export A=$H", &[("A", "host")]);
}

#[test]
fn a_lone_bracket_is_no_pattern() {
    check(
        "shopt -s nullglob; [ -z \"$X\" ] && export A=1 B=/nonexistent*; for f in /nonexistent*; do export C=$f; done",
        &[("A", "1"), ("B", "/nonexistent*")],
    );
}

#[test]
fn braces() {
    check(
        "echo() { export A=\"$*\"; }; echo a{b,c}d {1..3} {c..a} x{,y} '{q,r}' {one} {a,{b,c}}$H {01..3} {1..7..3}",
        &[(
            "A",
            "abd acd 1 2 3 c b a x xy {q,r} {one} ahost bhost chost 01 02 03 1 4 7",
        )],
    );
    check(
        "for d in /{usr,nonexistent}/bin; do [ -d $d ] && L=$L$d; done; export L",
        &[("L", "/usr/bin")],
    );
    check(
        "export A={a,b} B=\"{a,b}\"",
        &[("A", "{a,b}"), ("B", "{a,b}")],
    );
    check(
        &format!("f() {{ export N=$#; }}; f {}", "{a,b}".repeat(12)),
        &[("N", "4096")],
    );
}

#[test]
fn endings() {
    assert_eq!(run("exit 3; export A=1", &[]).end, Err(3));
    assert_eq!(run("return 0; export A=1", &[]).end, Ok(0));
    assert_eq!(run("set -e; false; export A=1", &[]).end, Err(1));
    assert_eq!(
        run(
            "set -e; if false; then :; fi; false || true; export A=1",
            &[]
        )
        .end,
        Ok(0)
    );
    assert_eq!(run("set -u; export A=$NOPE", &[]).end, Err(1));
    assert_eq!(run(": ${B:?unset}", &[]).end, Err(1));
    assert_eq!(run("echo $(foo", &[]).end, Ok(1));
}

#[test]
fn deep_nesting_is_an_error() {
    for script in [
        "$(".repeat(500),
        "{ ".repeat(500),
        "((".repeat(500),
        "${x:-".repeat(500),
        "`\\`".repeat(300),
        format!("[[ {} a ]]", "( ".repeat(500)),
        "if ".repeat(500),
    ] {
        assert_eq!(run(&script, &[]).end, Ok(1), "{script}");
    }
}

#[test]
fn endless_recursion_is_an_error() {
    let mut report = |_, _: &str| {};
    let policy = super::Policy {
        commands: true,
        files: true,
        timeout: std::time::Duration::from_secs(1),
    };
    let mut shell = super::Shell::new(b"test", policy, &mut report);
    assert!(matches!(
        shell.source_text("test", b"f() { f; }; f"),
        Err(super::Stop::Fatal(_))
    ));
}
