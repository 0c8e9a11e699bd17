//! What is said of Lark's apps, and of a program as a sink, and what is wrong with it.

use crate::config_folder::ConfigFolder;

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use trommel::config::{ClientAuth, ExecConfirm, KeptIn, LarkApp, SinkKind, SourceKind};

const LARK: &str = "[[source]]\nname = \"in\"\ntype = \"http\"\nlisten = \"0.0.0.0:8080\"\nenvelope = \"lark\"\n";
const NULL: &str = "[[sink]]\nname = \"out\"\ntype = \"null\"\n";
const LINES: &str = "[[source]]\nname = \"in\"\ntype = \"lines\"\n[[sink]]\nname = \"out\"\ntype = \"exec\"\n";

fn lark(settings: &str) -> ConfigFolder {
    ConfigFolder::of(&[("trommel.toml", settings), ("new", "x"), ("old", "x"), ("token", "x")])
}

fn exec(fields: &str) -> ConfigFolder {
    let folder = ConfigFolder::of(&[("trommel.toml", &format!("{LINES}{fields}")), ("bot.py", "#!"), ("notes", "")]);
    fs::set_permissions(folder.file("bot.py"), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn an_app_of_lark_has_keys_and_tokens() {
    let apps = "[[source.lark_app]]\napp_id = \"cli_a\"\nencrypt_key_file = [\"new\", \"old\"]\n\
        verification_token_file = \"token\"\n\
        [[source.lark_app]]\napp_id = \"cli_b\"\nverification_token_env = \"TOKEN\"\n";
    let folder = lark(&format!("{LARK}{apps}{NULL}"));
    let SourceKind::Http(http) = &folder.load().sources[0].kind else { panic!("it is one") };
    let file = |name: &str| KeptIn::File(folder.file(name));
    let first = LarkApp {
        app_id: "cli_a".to_owned(),
        encrypt_keys: vec![file("new"), file("old")],
        tokens: vec![file("token")],
    };
    let second =
        LarkApp { app_id: "cli_b".to_owned(), encrypt_keys: vec![], tokens: vec![KeptIn::Env("TOKEN".to_owned())] };
    assert_eq!(http.auth, Some(ClientAuth::Lark(vec![first, second])));
    assert!(!http.is_this_machines);
}

#[test]
fn what_is_wrong_with_an_app_of_lark_is_said() {
    let apps = "token_file = \"token\"\n[[source.lark_app]]\napp_id = \"a/b\"\nencrypt_key_file = \"none\"\n\
        [[source.lark_app]]\napp_id = \"cli_a\"\n\
        [[source.lark_app]]\napp_id = \"cli_b\"\nencrypt_key_file = [\"new\", \"old\", \"token\"]\n\
        [[source.lark_app]]\napp_id = \"cli_b\"\nverification_token_env = \"\"\n";
    let settings = format!("{}{apps}{NULL}", LARK.replace("\"lark\"", "\"plain\""));
    let problems = lark(&settings).problems();
    for expected in [
        "a source with a `lark_app` takes events of Lark, which have an envelope of their own",
        "Lark proves its requests by what `lark_app` names, so `token_file` means nothing",
        "`app_id` can't be `a/b`: an app's id looks like `cli_a1b2c3d4e5f6`",
        "none`: No such file",
        "nothing proves that a request is of this app",
        "at most 2 secrets count at a time",
        "`verification_token_env` can't be ``: it is empty",
        "app `cli_b` appears twice",
    ] {
        assert!(problems.contains(expected), "{expected}: {problems}");
    }
    let app = "[[source.lark_app]]\napp_id = \"a\"\nencrypt_key_env = \"K\"\n";
    let problems = lark(&format!("{LARK}verify_header = true\n{app}{NULL}")).problems();
    assert!(problems.contains("`verify_header` compares with the message's headers"), "{problems}");
}

#[test]
fn a_program_has_a_command_and_an_environment() {
    let folder = exec(
        "command = [\"./bot.py\", \"-x\"]\nenv = { MODE = \"quiet\", N = 3 }\npass_env = \"TOKEN\"\n\
        confirm = \"write\"\nstop_timeout = \"1s\"\n",
    );
    let SinkKind::Exec(exec) = &folder.load().sinks[0].kind else { panic!("it is one") };
    assert_eq!((&exec.program, &*exec.arguments), (&folder.file("./bot.py"), &["-x".to_owned()][..]));
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(exec.environment, [variable("MODE", "quiet"), variable("N", "3")]);
    assert_eq!((&*exec.pass_env, exec.confirm), (&["TOKEN".to_owned()][..], ExecConfirm::Write));
    assert_eq!(exec.stop_timeout, Duration::from_secs(1));
}

#[test]
fn what_is_wrong_with_a_program_is_said() {
    for (fields, expected) in [
        ("", "`command` is missing"),
        ("command = []", "`command` names no program"),
        ("command = [\"./none.py\"]", "can't read"),
        ("command = [\"./notes\"]", "`./notes` is not a program: it can't be executed"),
        ("command = \"sh\"\nenv = { A-B = 1 }", "`env` can't set `A-B`"),
        ("command = \"sh\"\nenv = { A = [\"x\"] }", "`A` must be one text"),
        ("command = \"sh\"\npass_env = [\"1A\"]", "`pass_env` can't be `1A`"),
        ("command = \"sh\"\nconfirm = \"never\"", "`confirm` can't be `never`"),
        ("command = \"sh\"\nencode = \"avro\"\nwriter_schema = \"a\"", "Avro has no lines"),
    ] {
        let problems = exec(fields).problems();
        assert!(problems.contains(expected), "{fields}: {problems}");
    }
}
