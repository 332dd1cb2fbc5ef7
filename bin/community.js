#!/usr/bin/env node
// Plain JavaScript, so that an old Node can say what it lacks before it meets TypeScript.
const major = Number(process.versions.node.split('.')[0])
if (major < 24) {
  process.stderr.write(
    `This server needs Node 24 or newer; this is ${process.version}. On Linux, "npm ci" brings it along.\n`,
  )
  process.exit(1)
}
const {enableCompileCache} = await import('node:module')
const {fileURLToPath} = await import('node:url')
const {setFlagsFromString} = await import('node:v8')
// Most of what a request leaves behind is gone by the next collection: sharing that little work out to other threads costs
// more processor time than the work (a third of a request's, measured), and the other cores have the database's to do.
setFlagsFromString('--no-parallel-scavenge')
// Beside the code, and not in the shared /tmp, where anybody could plant what we then run.
enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/community', import.meta.url)))
await import('../src/main.ts')
