#!/usr/bin/env node
// Builds the web client into dist/web, compressed. With --if-older it does so only where the sources changed since, and
// never stands in the way of what runs after it. Plain JavaScript: an old Node must get as far as to say what it lacks.
import {createHash} from 'node:crypto'
import {mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {brotliCompressSync, constants, gzipSync} from 'node:zlib'

const web = fileURLToPath(new URL('.', import.meta.url))
const dist = fileURLToPath(new URL('../dist/', import.meta.url))
const out = join(dist, 'web')
const ifOlder = process.argv.includes('--if-older')

const sourcesHash = () => {
  const hash = createHash('sha256')
  for (const name of readdirSync(web, {recursive: true}).sort()) {
    const file = join(web, name)
    if (statSync(file).isFile()) hash.update(`${name}\0`).update(readFileSync(file))
  }
  return hash.digest('hex')
}

const builtFrom = () => {
  try {
    return readFileSync(join(out, 'built-from'), 'utf8')
  } catch {
    return null
  }
}

const compress = (folder) => {
  for (const name of readdirSync(folder)) {
    if (!/\.(js|css|svg)$/.test(name)) continue
    const bytes = readFileSync(join(folder, name))
    const params = {[constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length}
    writeFileSync(join(folder, `${name}.br`), brotliCompressSync(bytes, {params}))
    writeFileSync(join(folder, `${name}.gz`), gzipSync(bytes, {level: 9}))
  }
}

const build = async (hash) => {
  // Whoever builds for tests or at a desk still gets what is served to people.
  process.env.NODE_ENV = 'production'
  const {build} = await import('vite')
  // Into a folder of its own first, so that a server that is running never sees half of it.
  const fresh = join(dist, `web-${process.pid}`)
  mkdirSync(dist, {recursive: true})
  try {
    await build({
      root: web,
      configFile: false,
      logLevel: 'warn',
      build: {outDir: fresh, emptyOutDir: true, assetsInlineLimit: 0, modulePreload: {polyfill: false}},
    })
    compress(join(fresh, 'assets'))
    writeFileSync(join(fresh, 'built-from'), hash)
    rmSync(out, {recursive: true, force: true})
    renameSync(fresh, out)
  } finally {
    rmSync(fresh, {recursive: true, force: true})
  }
}

const hash = sourcesHash()
if (!ifOlder || builtFrom() !== hash) {
  try {
    await build(hash)
  } catch (error) {
    process.stderr.write(`The web client could not be built: ${error instanceof Error ? error.message : error}\n`)
    process.exitCode = ifOlder ? 0 : 1
  }
}
