//! What Linux tells everybody in its files: pure readers of their text.

use std::net::Ipv4Addr;

/// A system around this one that has the network, and gives us a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Around {
    /// Windows, around its subsystem for Linux.
    Wsl,
    /// A container, of this kind.
    Container(String),
}

/// Windows says its name in the kernel's release: `5.15.153.1-microsoft-standard-WSL2`.
pub(super) fn is_wsl(kernel_release: &str) -> bool {
    kernel_release.to_ascii_lowercase().contains("microsoft")
}

/// Whether a table of sockets (`/proc/net/tcp`, `udp`, and the same with `6`) has one that waits at `port`, and its
/// inodes. States in hexadecimal: `0A` is listening, `07` an unconnected datagram socket.
pub(super) fn sockets_at(table: &str, port: u16) -> Vec<u64> {
    let inode = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
        let (_, local_port) = local.rsplit_once(':')?;
        let waits = matches!(*state, "0A" | "07") && u16::from_str_radix(local_port, 16) == Ok(port);
        waits.then(|| inode.parse().ok())?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// The neighbours on `interface` that have answered (`/proc/net/arp`: address, type, flags, hardware address, mask,
/// device), without the routers.
pub(super) fn neighbours(arp: &str, interface: &str, routers: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
    // Linux, `if_arp.h`: the hardware address is known.
    const COMPLETE: u32 = 0x02;
    let neighbour = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[ip, _, flags, _, _, device] = columns.as_slice() else { return None };
        let flags = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()?;
        let ip: Ipv4Addr = ip.parse().ok()?;
        (device == interface && flags & COMPLETE != 0 && !routers.contains(&ip)).then_some(ip)
    };
    arp.lines().skip(1).filter_map(neighbour).collect()
}

/// Every router in `/proc/net/route`, whose third column is one in the byte order of the machine.
pub(super) fn routers(table: &str) -> Vec<Ipv4Addr> {
    let router = |line: &str| {
        let word = u32::from_str_radix(line.split_ascii_whitespace().nth(2)?, 16).ok()?;
        (word != 0).then(|| Ipv4Addr::from(word.to_ne_bytes()))
    };
    table.lines().skip(1).filter_map(router).collect()
}

/// What the flags of an interface say (`/sys/class/net/NAME/flags`, in hexadecimal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags {
    /// Somebody has turned it on.
    pub(super) up: bool,
    /// It has a carrier: a cable, an access point.
    pub(super) running: bool,
    /// It takes what is sent to groups.
    pub(super) multicast: bool,
}

impl Flags {
    /// Linux, `if.h`.
    const UP: u32 = 0x1;
    const LOOPBACK: u32 = 0x8;
    const MULTICAST: u32 = 0x1000;

    /// From the file and that beside it which is called `carrier`.
    pub(super) fn read(flags: &str, carrier: &str) -> Option<Flags> {
        let flags = u32::from_str_radix(flags.trim().strip_prefix("0x")?, 16).ok()?;
        Some(Flags {
            up: flags & Flags::UP != 0,
            running: carrier.trim() == "1",
            // Loopback says that it has none, and carries it all the same.
            multicast: flags & (Flags::MULTICAST | Flags::LOOPBACK) != 0,
        })
    }
}
