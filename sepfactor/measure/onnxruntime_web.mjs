// Runs networks in onnxruntime-web, one request after another, for the process that started it.
//
//     node --no-liftoff --single-threaded onnxruntime_web.mjs FOLDER
//
// onnxruntime-web is looked for from FOLDER on, as `require` does. A request on stdin and an answer on stdout are alike:
// four bytes, how long the head is (little endian); the head, JSON; and the bytes of tensors, as long as `sizes` says.

import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { Worker } from 'node:worker_threads';

const AT_ONCE = 1 << 26;
const ARRAYS = {
  float16: Uint16Array,
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
};
const LEVELS = { all: 'all', basic: 'basic', none: 'disabled' };

// What onnxruntime prints, its profile included, would come between the answers: it is kept instead.
const write = fs.writeSync;
let said = [];
fs.writeSync = (_, text) => said.push(String(text));
for (const name of ['log', 'info', 'warn', 'error', 'debug']) {
  console[name] = (...words) => said.push(`${words.join(' ')}\n`);
}

// Its parent may be killed while a loop in a network runs on, and nobody reads the pipe then. With an output of its own
// it leaves ours alone, which Node would make one that does not wait for the reader.
new Worker(
  `const parent = process.ppid;
   setInterval(() => process.ppid === parent || process.kill(process.pid, 'SIGKILL'), 2000);`,
  { eval: true, stdout: true, stderr: true },
).unref();

function readBytes(length) {
  const bytes = new Uint8Array(length);
  for (let have = 0; have < length; ) {
    const count = fs.readSync(0, bytes, have, Math.min(length - have, AT_ONCE), null);
    if (count === 0) process.exit(0); // whoever asked is gone
    have += count;
  }
  return bytes;
}

function read() {
  const head = readBytes(new DataView(readBytes(4).buffer).getUint32(0, true));
  const request = JSON.parse(Buffer.from(head).toString());
  return [request, request.sizes.map(readBytes)];
}

function writeBytes(bytes) {
  for (let done = 0; done < bytes.byteLength; ) {
    done += write(1, bytes, done, Math.min(bytes.byteLength - done, AT_ONCE));
  }
}

function answer(head, buffers = []) {
  const text = Buffer.from(JSON.stringify({ ...head, sizes: buffers.map((one) => one.byteLength) }));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.byteLength);
  writeBytes(Buffer.concat([length, text]));
  buffers.forEach(writeBytes);
}

// Microseconds of work of this thread; where Node counts those of all threads, it has no other that works.
const worked = () => {
  const used = (process.threadCpuUsage ?? process.cpuUsage)();
  return used.user + used.system;
};

// onnxruntime's profile is by this clock.
const wall = performance.now.bind(performance);
async function profiling(session, work) {
  if (session.clock === 'cpu') performance.now = () => worked() / 1e3;
  try {
    return await work();
  } finally {
    performance.now = wall;
  }
}

const ort = createRequire(path.join(process.argv[2], 'any.js'))('onnxruntime-web');
ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'fatal';

// What lies around a run in JavaScript is compiled again and again as it is called, and takes half as long in the end:
// small networks would be timed by how many were before them.
const CALLS = 3000;
const NEGATION = Buffer.from(
  'CAo6NAoNCgF4EgF5IgNOZWc6ABIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEA0=',
  'base64',
);
let isWarm = false;
async function warmUp() {
  if (isWarm) return;
  isWarm = true;
  const session = await ort.InferenceSession.create(NEGATION, { executionProviders: ['wasm'], logSeverityLevel: 4 });
  const x = new ort.Tensor('float32', new Float32Array(1), [1]);
  for (let call = 0; call < CALLS; call++) await session.run({ x });
  await session.release();
}

const sessions = new Map();
const feeds = new Map();
let made = 0;

function described(values) {
  if (values === undefined) {
    throw new Error(`onnxruntime-web ${ort.env.versions.web} does not describe inputs; install 1.22 or newer`);
  }
  return values.map(({ name, isTensor, type, shape }) => ({
    name,
    type: isTensor ? type : 'other',
    shape: isTensor ? shape.map((axis) => (axis === '' ? null : axis)) : [],
  }));
}

const requests = {
  async open({ level, arena, clock, external }, [model, ...files]) {
    const options = {
      executionProviders: ['wasm'],
      graphOptimizationLevel: LEVELS[level],
      enableCpuMemArena: arena,
      enableMemPattern: arena,
      enableProfiling: clock !== null,
      logSeverityLevel: 4,
      externalData: external.map((name, number) => ({ path: name, data: files[number] })),
    };
    const session = { clock };
    session.ort = await profiling(session, () => ort.InferenceSession.create(model, options));
    const about = {
      inputs: described(session.ort.inputMetadata),
      outputs: described(session.ort.outputMetadata),
    };
    sessions.set(++made, session);
    answer({ made, ...about });
  },

  async feed({ tensors }, buffers) {
    const feed = {};
    tensors.forEach(({ name, type, shape }, number) => {
      feed[name] = new ort.Tensor(type, new ARRAYS[type](buffers[number].buffer), shape);
    });
    feeds.set(++made, feed);
    answer({ made });
  },

  async run({ session, feed }) {
    const opened = sessions.get(session);
    const found = await profiling(opened, () => opened.ort.run(feeds.get(feed)));
    const outputs = opened.ort.outputNames.map((name) => {
      const { type, dims, data } = found[name];
      if (!(type in ARRAYS)) throw new Error(`output ${name} is of the type ${type}, which is not read here`);
      return { type, shape: dims, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
    });
    answer(
      { outputs: outputs.map(({ type, shape }) => ({ type, shape })) },
      outputs.map((output) => output.data),
    );
  },

  async time({ session, feed }) {
    await warmUp();
    const opened = sessions.get(session).ort;
    const inputs = feeds.get(feed);
    const begin = process.hrtime.bigint();
    const work = worked();
    await opened.run(inputs);
    const done = worked();
    const passed = process.hrtime.bigint() - begin;
    answer({ passed: Number(passed) / 1e9, worked: (done - work) / 1e6 });
  },

  async profile({ session }) {
    const opened = sessions.get(session);
    said = [];
    await profiling(opened, () => opened.ort.endProfiling());
    answer({}, [Buffer.from(said.join(''))]);
  },
};

for (;;) {
  const [request, buffers] = read();
  said = [];
  try {
    for (const feed of request.drop.feeds) feeds.delete(feed);
    for (const session of request.drop.sessions) {
      await sessions.get(session)?.ort.release();
      sessions.delete(session);
    }
    await requests[request.do](request, buffers);
  } catch (error) {
    // Nothing catches what is thrown in there, or aborts: all it has in memory is lost by then.
    const fatal = !(error instanceof Error) || error instanceof WebAssembly.RuntimeError || /abort/i.test(error);
    answer({ error: `${error?.message ?? ''} ${fatal ? said.join(' ') : ''}`.trim(), fatal });
    if (fatal) process.exit(1);
  }
}
