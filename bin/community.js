#!/usr/bin/env node
// Plain JavaScript, so that an old Node can say what it lacks before it meets TypeScript.
const major = Number(process.versions.node.split('.')[0])
if (major < 24) {
  process.stderr.write(`This server needs Node 24 or newer; this is ${process.version}. On Linux, "npm ci" brings it along.\n`)
  process.exit(1)
}
await import('../src/main.ts')
