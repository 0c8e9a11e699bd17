// Gives the exports the names of the contract, which AssemblyScript has no way to write.
import { Transform } from "assemblyscript/transform";

const FILTER = "trommel:filter/filter@0.2.0#";
const NAMES = {
  realloc: ["cabi_realloc"],
  describe: [`${FILTER}describe`],
  normalizeParams: [`${FILTER}normalize-params`],
  construct: [`${FILTER}[constructor]subscription`],
  destruct: [`${FILTER}[dtor]subscription`],
  interest: [`${FILTER}[method]subscription.interest`],
  matches: [`${FILTER}[method]subscription.matches`],
  matchesBatch: [`${FILTER}[method]subscription.matches-batch`],
  process: [`${FILTER}[method]subscription.process`],
  processBatch: [`${FILTER}[method]subscription.process-batch`],
  tick: [`${FILTER}[method]subscription.tick`],
};
const READ = ["describe", "normalizeParams", "construct", "interest", "matchesBatch", "process", "processBatch", "tick"];
NAMES.done = READ.map((name) => `cabi_post_${NAMES[name][0]}`);

export default class extends Transform {
  afterCompile(module) {
    for (const [own, names] of Object.entries(NAMES)) {
      const inside = this.inside(module, own);
      module.removeExport(own);
      for (const name of names) module.addFunctionExport(inside, name);
    }
    for (const other of ["manifest", "make"]) module.removeExport(other);
  }

  /** The function that is exported by a name. */
  inside(module, name) {
    return this.binaryen.getExportInfo(module.getExport(name)).value;
  }
}
