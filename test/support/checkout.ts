import {execFile} from 'node:child_process'
import {cp, mkdtemp, readFile, rm, symlink, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {onTestFinished} from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** The program in a folder of its own, where a test may change it: another version. It goes when the test is over. */
export type Checkout = {
  main: string
  write(path: string, text: string): Promise<void>
  change(path: string, from: string, to: string): Promise<void>
  community(env: NodeJS.ProcessEnv, ...args: string[]): Promise<{status: number; stdout: string; stderr: string}>
}

export const newCheckout = async (): Promise<Checkout> => {
  const folder = await mkdtemp(join(tmpdir(), 'community-checkout-'))
  onTestFinished(() => rm(folder, {recursive: true, force: true}))
  for (const name of ['src', 'bin', 'package.json']) await cp(join(ROOT, name), join(folder, name), {recursive: true})
  for (const name of ['node_modules', 'web', 'dist']) await symlink(join(ROOT, name), join(folder, name))
  const main = join(folder, 'bin/community.js')
  const write = (path: string, text: string) => writeFile(join(folder, path), text)
  return {
    main,
    write,
    change: async (path, from, to) => {
      const text = await readFile(join(folder, path), 'utf8')
      if (!text.includes(from)) throw new Error(`${path} does not hold ${from}`)
      await write(path, text.replace(from, to))
    },
    community: (env, ...args) =>
      new Promise((resolve) => {
        const options = {env: {PATH: process.env.PATH, ...env, LOG_LEVEL: ''} as NodeJS.ProcessEnv}
        const child = execFile(process.execPath, [main, ...args], options, (_error, stdout, stderr) =>
          resolve({status: child.exitCode ?? -1, stdout, stderr}),
        )
      }),
  }
}
