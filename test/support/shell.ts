import {type ChildProcess, spawn} from 'node:child_process'
import {once} from 'node:events'
import {type AddressInfo, createServer} from 'node:net'
import {eventually} from './eventually.ts'

const shells = new Set<ChildProcess>()

export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const {port} = server.address() as AddressInfo
  server.close()
  return port
}

/** A shell in a process group of its own, as each terminal has one. */
export const openShell = ({cwd, env}: {cwd: string; env: NodeJS.ProcessEnv}, args: string[] = []) => {
  const shell = spawn('bash', args, {cwd, env, detached: true, stdio: ['pipe', 'pipe', 'pipe']})
  shells.add(shell)
  let output = ''
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk
    })
  }
  const ended = new Promise<void>((resolve) => {
    shell.once('close', () => {
      shells.delete(shell)
      resolve()
    })
  })
  let count = 0
  /** Runs the block and gives what it printed, and the status of its last command. */
  const runs = async (block: string): Promise<{output: string; status: number}> => {
    const from = output.length
    const end = new RegExp(`done ${++count} of the reader: (\\d+)\\n`)
    shell.stdin.write(`${block}\necho "done ${count} of the reader: $?"\n`)
    const status = await eventually(() => end.exec(output.slice(from))?.[1], {ms: 60_000}).catch(() => {
      throw new Error(`waited for ${block}; it says: ${output.slice(from)}`)
    })
    return {output: output.slice(from).replace(end, ''), status: Number(status)}
  }
  return {
    output: () => output,
    waitFor: (text: string) =>
      eventually(() => output.includes(text), {ms: 30_000, what: `"${text}"`}).catch((error: Error) => {
        throw new Error(`${error.message}; it says: ${output}`)
      }),
    /** Runs the block and gives what it printed. */
    run: async (block: string): Promise<string> => (await runs(block)).output,
    runs,
    pressCtrlC: async () => {
      process.kill(-shell.pid!, 'SIGINT')
      await ended
    },
    close: async () => {
      shell.stdin.end()
      await ended
    },
  }
}

/** Ends what a failed test left open. */
export const closeShells = async (): Promise<void> => {
  for (const {pid} of shells) process.kill(-pid!, 'SIGKILL')
  await eventually(() => shells.size === 0)
}
