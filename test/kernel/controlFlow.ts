/** One step from an instruction to the next one that may run. */
interface Edge {
  readonly to: number;
  readonly jump: boolean;
}

/**
 * Where functions run back into a loop from an instruction that is no jump. Verifiers before Linux 6.7 refuse that as a loop without
 * end (`check_cfg` in kernel/bpf/verifier.c), and no newer one tells; which loops the compiler lays out so is its own affair.
 *
 * @param code As `llvm-objdump --disassemble --no-show-raw-insn` prints it.
 * @returns The function, the instruction's number in its section, and the instruction.
 */
export function fallsBackIntoLoops(code: string): string[] {
  const functions = code
    // Labels within a function.
    .replaceAll(/\n+[0-9a-f]+ <LBB\w+>:\n/g, '\n')
    .split(/\n\n+/);
  return functions.flatMap((text) => {
    const name = /^[0-9a-f]+ <(\w+)>:/.exec(text)?.[1];
    if (name === undefined) return [];
    const lines = [...text.matchAll(/^ *(\d+):\t(.*)$/gm)];
    const instructions = new Map(lines.map(([, number, words = '']) => [Number(number), words.trim()]));
    return fallsBack(instructions).map((at) => `${name} ${at}: ${instructions.get(at)}`);
  });
}

/** A search depth first, in the verifier's order: on before aside. */
function fallsBack(instructions: ReadonlyMap<number, string>): number[] {
  const edges = edgesOf(instructions);
  const found: number[] = [];
  const entered = new Set<number>();
  const open: { readonly at: number; readonly left: Edge[] }[] = [];
  const onPath = new Set<number>();
  const enter = (at: number) => {
    entered.add(at);
    onPath.add(at);
    open.push({ at, left: [...(edges.get(at) ?? [])] });
  };
  const [first] = instructions.keys();
  if (first !== undefined) enter(first);
  for (let last = open.at(-1); last !== undefined; last = open.at(-1)) {
    const edge = last.left.shift();
    if (edge === undefined) {
      onPath.delete(last.at);
      open.pop();
    } else if (!entered.has(edge.to)) enter(edge.to);
    else if (onPath.has(edge.to) && !edge.jump) found.push(last.at);
  }
  return found;
}

function edgesOf(instructions: ReadonlyMap<number, string>): Map<number, Edge[]> {
  // Not one on from the number: those that load 64 bits count twice.
  const numbers = [...instructions.keys()];
  return new Map(
    [...instructions].map(([at, words], index) => {
      const next = numbers[index + 1];
      const jump = /goto ([+-]\d+|[+-]?0x[0-9a-f]+)/.exec(words)?.[1];
      const on = next === undefined || words === 'exit' || words.startsWith('goto') ? [] : [next];
      const edges = on.map((to) => ({ to, jump: jump !== undefined }));
      return [at, jump === undefined ? edges : [...edges, { to: at + 1 + Number(jump), jump: true }]];
    }),
  );
}
