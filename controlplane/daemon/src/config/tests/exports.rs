//! What hosts see.

use super::*;

#[test]
fn exports_are_distinct_known_and_reachable() {
    let second = format!("{SITE}\n[[export]]\nname = \"db-v0\"\nvolume = \"db/v9\"\n");
    found(
        &second,
        &[
            "a.toml:40: export[1].name: export name \"db-v0\" is taken already by export[0].name",
            "a.toml:41: export[1].volume: no volume is named db/v9; known are db/v0",
        ],
    );
    let listen = "listen = [\"127.0.0.1:10809\", \"unix:/run/midspan/nbd.sock\"]";
    found(
        &with(listen, ""),
        &[
            "a.toml:35: export[0]: no host can reach the exports: [nbd] needs `listen = [...]` or `systemd = true`",
        ],
    );
    found(&with(listen, "systemd = true"), &[]);
    let long = "x".repeat(4097);
    found(
        &with("\"db-v0\"", &format!("{long:?}")),
        &["a.toml:36: export[0].name: the name of an export has at most 4096 bytes, this one has 4097"],
    );
}

#[test]
fn a_place_is_listened_on_once() {
    found(
        &with("127.0.0.1:10809", "127.0.0.1:7001"),
        &["a.toml:33: nbd.listen[0]: listening place 127.0.0.1:7001 is taken already by node.listen"],
    );
    found(
        &with("/run/midspan/nbd.sock", "/run/midspan/a.sock"),
        &["a.toml:33: nbd.listen[1]: listening place unix:/run/midspan/a.sock is taken already by node.api"],
    );
}
