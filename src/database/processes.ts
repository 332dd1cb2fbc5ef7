import {execFileSync, spawn} from 'node:child_process'
import {readFileSync, readlinkSync} from 'node:fs'
import {hostname} from 'node:os'

/** A user of this machine to run a program as. */
export type Account = {uid: number; gid: number}

/** A surrounding with nothing of ours in it: PGPORT, TZ or LD_LIBRARY_PATH of a shell must not reach the database. */
export const bareEnvironment = {PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC'}

/** Runs a program to its end, out of reach of Ctrl-C. Answers null, or in one line what went wrong. */
export const run = (program: string, args: string[], account?: Account): Promise<string | null> =>
  new Promise((resolve) => {
    const child = spawn(program, args, {
      ...account,
      cwd: '/',
      env: bareEnvironment,
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let stderr = ''
    child.stderr.on('data', (chunk) => {
      stderr = (stderr + chunk).slice(-4096)
    })
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => {
      const complaint = stderr.split('\n').findLast((line) => /error|fatal|denied|not found/i.test(line))
      resolve(code === 0 ? null : (complaint ?? `${program} ended with ${signal ?? code}`).trim())
    })
  })

/**
 * What tells a process from a later one of the same pid: when it started, as the system writes it (field 22 of
 * proc_pid_stat(5), else ps). Null when there is no such process, or only its zombie.
 */
export const processStart = (pid: number): string | null => {
  try {
    if (process.platform === 'linux') {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      // The second field, the program's name in parentheses, may itself hold spaces and parentheses.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return fields[0] === 'Z' || fields[0] === 'X' ? null : fields[19]!
    }
    process.kill(pid, 0)
    if (process.platform === 'win32') return ''
    const [state, ...started] = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', `${pid}`], {encoding: 'utf8'})
      .trim()
      .split(/\s+/)
    return state?.startsWith('Z') ? null : started.join(' ')
  } catch {
    return null
  }
}

export const isRunning = (pid: number): boolean => {
  if (process.platform === 'linux') return processStart(pid) !== null
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Where a pid means the same process: this boot of this kernel, this container. */
export const processHost = (): string => {
  try {
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return hostname()
  }
}
