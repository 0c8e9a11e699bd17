// Goes for the machine, one attempt a route, and tells what came of it.
import environment from "wasi:cli/environment@0.2.12";
import stdout from "wasi:cli/stdout@0.2.12";
import clock from "wasi:clocks/wall-clock@0.2.12";
import preopens from "wasi:filesystem/preopens@0.2.12";
import random from "wasi:random/random@0.2.12";
import instance from "wasi:sockets/instance-network@0.2.12";
import names from "wasi:sockets/ip-name-lookup@0.2.12";
import tcp from "wasi:sockets/tcp-create-socket@0.2.12";
import { bytes, define, replace } from "./sdk/trommel.js";

const ATTEMPTS = {
  read: folder,
  write: folder,
  list: folder,
  environment: () => environment.getEnvironment().join(" ") || "nothing",
  arguments: () => environment.getArguments().join(" ") || "nothing",
  lookup: () => names.resolveAddresses(instance.instanceNetwork(), "localhost"),
  connect: ({ port }) => {
    const address = { tag: "ipv4", val: { port: Number(port), address: [127, 0, 0, 1] } };
    tcp.createTcpSocket("ipv4").startConnect(instance.instanceNetwork(), address);
  },
  flood: () => {
    const out = stdout.getStdout();
    const line = bytes(`${"x".repeat(999)}\n`);
    for (let n = 0; n < 10_000; n++) out.blockingWriteAndFlush(line);
    return "printed";
  },
};

// Every file is found through a folder that was handed over.
function folder() {
  if (preopens.getDirectories().length === 0) throw "no folder";
}

class Hostile {
  constructor(params) {
    this.params = params;
  }

  matches() {
    const drawn = random.getRandomBytes(4).join(" ");
    stdout.getStdout().blockingWriteAndFlush(bytes(`clock ${clock.now().seconds}, drew ${drawn}\n`));
    return true;
  }

  process() {
    try {
      return replace(`${ATTEMPTS[this.params.try](this.params) ?? "got through"}`);
    } catch (error) {
      return replace(`refused: ${error}`);
    }
  }
}

export const { filter } = define({ name: "hostile", version: "1.0.0" }, Hostile);
