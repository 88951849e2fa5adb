#!/usr/bin/env python3
"""The denoiser in PyTorch, its training, and the export to models/denoiser/denoiser.safetensors.

    tools/train/denoiser.py train --data .cache/denoiser --out out/denoiser --seconds 450

Reads train.tar and held_out.tar (tools/train/photographs.py makes them). Everything is seeded; --out holds a checkpoint from
which the same command goes on after an interruption, its time counted so far included. Writes denoiser.safetensors (f16, the
exponential average of the weights, keys as in models/denoiser/denoiser.h), log.txt and scores.json. Needs PyTorch, Pillow,
NumPy, safetensors; a GPU for any real training.
"""
import argparse
import io
import json
import math
import pathlib
import tarfile
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

# ---- the network: models/denoiser/denoiser.h says the same in C++ -------------------------------------------------------


class RMSNorm2d(nn.Module):
    def __init__(self, channels, eps=1e-5):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(channels)), eps

    def forward(self, x):
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(1, keepdim=True) + self.eps) * self.weight[:, None, None]).to(x.dtype)


class Block(nn.Module):
    """x + project(silu(mix(value(n))) * gate(n)), then x + down(silu(a(n)) * b(n)); n the norm of x, mix depthwise 3x3."""

    def __init__(self, c):
        super().__init__()
        self.norm1, self.norm2 = RMSNorm2d(c), RMSNorm2d(c)
        self.mix = nn.Conv2d(c, c, 3, padding=1, groups=c)
        for name in ("value", "gate", "project", "a", "b", "down"):
            setattr(self, name, nn.Conv2d(c, c, 1))
        for last in (self.project, self.down):
            nn.init.zeros_(last.weight), nn.init.zeros_(last.bias)

    def forward(self, x):
        n = self.norm1(x)
        x = x + self.project(F.silu(self.mix(self.value(n))) * self.gate(n))
        n = self.norm2(x)
        return x + self.down(F.silu(self.a(n)) * self.b(n))


class Denoiser(nn.Module):
    """x, y [N,3,H,W]: RGB in [0,1], H and W multiples of 16. The strength of the noise is not an input: a network that is told of
    it learns to ignore it, because the picture shows it (tried: 0.01 dB between told 0, 25 and 50)."""

    CHANNELS, BLOCKS, STRIDE = (48, 96, 128, 192), (2, 2, 2, 2), 16

    def __init__(self):
        super().__init__()
        c, depth = self.CHANNELS, self.BLOCKS
        blocks = lambda i: nn.Sequential(*(Block(c[i]) for _ in range(depth[i])))
        self.stem = nn.Conv2d(12, c[0], 3, padding=1)
        self.enc0, self.enc1, self.enc2 = blocks(0), blocks(1), blocks(2)
        self.down0, self.down1, self.down2 = (nn.Conv2d(4 * c[i], c[i + 1], 1) for i in range(3))
        self.middle = blocks(3)
        self.up2, self.up1, self.up0 = (nn.Conv2d(c[i + 1], 4 * c[i], 1) for i in (2, 1, 0))
        self.dec2, self.dec1, self.dec0 = blocks(2), blocks(1), blocks(0)
        self.head = nn.Conv2d(c[0], 12, 3, padding=1)
        nn.init.zeros_(self.head.weight), nn.init.zeros_(self.head.bias)

    def forward(self, x):
        s0 = self.enc0(self.stem(F.pixel_unshuffle(x, 2)))
        s1 = self.enc1(self.down0(F.pixel_unshuffle(s0, 2)))
        s2 = self.enc2(self.down1(F.pixel_unshuffle(s1, 2)))
        h = self.middle(self.down2(F.pixel_unshuffle(s2, 2)))
        h = self.dec2(s2 + F.pixel_shuffle(self.up2(h), 2))
        h = self.dec1(s1 + F.pixel_shuffle(self.up1(h), 2))
        h = self.dec0(s0 + F.pixel_shuffle(self.up0(h), 2))
        return x + F.pixel_shuffle(self.head(h), 2)


# ---- data ---------------------------------------------------------------------------------------------------------------


def read_tar(path):
    with tarfile.open(path) as tar:
        return [(m.name, np.asarray(Image.open(io.BytesIO(tar.extractfile(m).read())).convert("RGB"))) for m in tar.getmembers()]


class Photographs:
    """All training photographs as one array of bytes on the device; crops are gathered from it."""

    def __init__(self, path, device):
        pictures = [p for _, p in read_tar(path)]
        sizes = np.array([p.shape[:2] for p in pictures])
        starts = np.concatenate([[0], np.cumsum(sizes.prod(1))[:-1]])
        self.pixels = torch.from_numpy(np.concatenate([p.reshape(-1, 3) for p in pictures])).to(device)
        self.h, self.w, self.start = (torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in (sizes[:, 0], sizes[:, 1], starts))
        self.share = torch.from_numpy(sizes.prod(1) / sizes.prod(1).sum()).to(device)
        self.device = device

    def crops(self, count, side, generator):
        """count random crops [N,3,side,side] in [0,1], flipped and turned at random."""
        rand = lambda: torch.rand(count, device=self.device, generator=generator, dtype=torch.float64)
        fits = self.share * ((self.h >= side) & (self.w >= side))
        i = torch.multinomial(fits, count, replacement=True, generator=generator)
        h, w = self.h[i], self.w[i]
        top, left = (rand() * (h - side + 1)).long(), (rand() * (w - side + 1)).long()
        across = torch.arange(side, device=self.device)
        rows, columns = top[:, None, None] + across[None, :, None], left[:, None, None] + across[None, None, :]
        # Flips and transposition of each crop by its indices: eight orientations.
        flip_y, flip_x, turn = (rand() < 0.5 for _ in range(3))
        rows = torch.where(flip_y[:, None, None], rows.flip(1), rows).expand(count, side, side)
        columns = torch.where(flip_x[:, None, None], columns.flip(2), columns).expand(count, side, side)
        t = turn[:, None, None]
        rows, columns = torch.where(t, rows.transpose(1, 2), rows), torch.where(t, columns.transpose(1, 2), columns)
        flat = self.start[i][:, None, None] + rows * w[:, None, None] + columns
        return self.pixels[flat].permute(0, 3, 1, 2).float() / 255

    def batch(self, count, side, generator, max_sigma):
        """(noisy, clean) with the varieties of noise that pictures come with."""
        dev = self.device
        coin = lambda p: torch.rand(count, 1, 1, 1, device=dev, generator=generator) < p
        if torch.rand((), generator=self.host) < 0.25:  # finer texture than the photographs have at their own scale
            clean = F.avg_pool2d(self.crops(count, 2 * side, generator), 2)
        else:
            clean = self.crops(count, side, generator)
        grey = coin(0.1)  # a grey picture has the same noise in all three channels
        clean = torch.where(grey, clean.mean(1, keepdim=True), clean)
        sigma = torch.rand(count, 1, 1, 1, device=dev, generator=generator) * max_sigma / 255
        noise = torch.randn(clean.shape, device=dev, generator=generator) * sigma
        noisy = clean + torch.where(grey, noise[:, :1], noise)
        noisy = torch.where(coin(0.5), (noisy.clamp(0, 1) * 255).round() / 255, noisy)  # as an 8-bit file holds it
        return noisy, clean


def held_out(path, sigma, device):
    """(clean, noisy) [1,3,H,W] of each held-out photograph: noise of NumPy's PCG64 seeded by the index, as an 8-bit file."""
    for i, (_, picture) in enumerate(read_tar(path)):
        clean = picture.astype(np.float32) / 255
        noise = np.random.default_rng(1000 + i).standard_normal(clean.shape, dtype=np.float32) * (sigma / 255)
        noisy = np.rint((clean + noise).clip(0, 1) * 255) / 255
        yield tuple(torch.from_numpy(a.astype(np.float32).transpose(2, 0, 1)[None]).to(device) for a in (clean, noisy))


def psnr(a, b):
    return -10 * math.log10(max(1e-12, F.mse_loss(a.double(), b.double()).item()))


@torch.no_grad()
def denoise(net, noisy):
    """A picture of any size: padded by its own mirror image (its edge where it is too small for that) and cut again."""
    n, _, h, w = noisy.shape
    pad = (0, -w % Denoiser.STRIDE, 0, -h % Denoiser.STRIDE)
    padded = F.pad(noisy, pad, mode="reflect" if pad[1] < w and pad[3] < h else "replicate")
    return net(padded)[:, :, :h, :w].clamp(0, 1)


def evaluate(net, path, sigma, device):
    """Mean PSNR of noisy and denoised (rounded to 8 bits), and the least gain of any photograph."""
    pairs = [(psnr(noisy, clean), psnr((denoise(net, noisy) * 255).round() / 255, clean)) for clean, noisy in held_out(path, sigma, device)]
    before, after = (sum(p[i] for p in pairs) / len(pairs) for i in (0, 1))
    return before, after, min(b - a for a, b in pairs)


# ---- training -----------------------------------------------------------------------------------------------------------


def export(net, path, metadata):
    from safetensors.torch import save_file

    tensors = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in net.state_dict().items()}
    assert all(torch.isfinite(t).all() for t in tensors.values())
    save_file(tensors, str(path), metadata=metadata)


def load_exported(path, device="cpu"):
    from safetensors.torch import load_file

    net = Denoiser()
    net.load_state_dict({k: v.float() for k, v in load_file(str(path)).items()})
    return net.eval().to(device)


def fastest_way(net, data, args, say):
    """The network in the memory format, and the function that runs it, that train fastest here; each tried for a few steps."""
    import copy

    formats = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
    ways = ["eager-nchw", "eager-nhwc", "compiled-nhwc", "compiled-nchw"] if args.way == "auto" else [args.way]
    best = None
    for way in ways:
        mode, layout = way.split("-")[0], formats[way.split("-")[1]]
        if args.way == "auto" and mode == "compiled" and time.monotonic() - args.started > args.seconds / 8:
            continue  # compilation itself would take too much of the time that is left
        try:
            trial = copy.deepcopy(net).to(memory_format=layout)
            run = torch.compile(trial) if mode == "compiled" else trial
            generator = torch.Generator(device=data.device).manual_seed(0)
            for i in range(8):
                if i == 3:
                    torch.cuda.synchronize()
                    begin = time.monotonic()
                x, clean = data.batch(args.batch, args.side, generator, args.max_sigma)
                with torch.autocast("cuda", torch.bfloat16):
                    y = run(x.to(memory_format=layout))
                F.mse_loss(y.float(), clean).backward()
            torch.cuda.synchronize()
            ms = (time.monotonic() - begin) / 5 * 1e3
        except Exception as error:  # a machine without a compiler for Triton, for example
            say(f"{way}: not possible here: {str(error).splitlines()[0][:120]}")
            continue
        say(f"{way}: {ms:.1f} ms a step")
        if best is None or ms < best[0]:
            best = (ms, trial, run, way, layout)
    if best is None:
        raise SystemExit("no way to train works on this device, see the log")
    return best[1:]


def train(args):
    args.started = time.monotonic()
    out = args.out
    out.mkdir(parents=True, exist_ok=True)
    log = (out / "log.txt").open("a")

    def say(text):
        line = f"{time.monotonic() - args.started:7.1f} s  {text}"
        print(line, flush=True)
        print(line, file=log, flush=True)

    device = torch.device(args.device)
    on_gpu = device.type == "cuda"
    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    data = Photographs(args.data / "train.tar", device)
    data.host = torch.Generator().manual_seed(args.seed)
    generator = torch.Generator(device=device).manual_seed(args.seed)
    test = args.data / "held_out.tar"

    net = Denoiser().to(device)
    parameters = sum(p.numel() for p in net.parameters())
    say(f"{len(data.share)} photographs, {data.pixels.shape[0] / 1e6:.1f} megapixels; {parameters} parameters; torch {torch.__version__}")
    net, run, way, layout = fastest_way(net, data, args, say) if on_gpu else (net, net, "eager-nchw", torch.contiguous_format)
    weights = dict(net.named_parameters())
    average = {k: v.detach().clone() for k, v in weights.items()}
    average_net = Denoiser().to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=1e-4, fused=on_gpu)
    step, spent = 0, 0.0
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        net.load_state_dict(state["net"]), optimizer.load_state_dict(state["optimizer"])
        average, step, spent = state["average"], state["step"], state["spent"]
        generator.set_state(state["generator"].cpu()), data.host.set_state(state["host"].cpu())
        say(f"goes on from step {step}, {spent:.0f} s of training behind it")
    # The time that was spent so far and the time of this run add up to the schedule.
    earlier = spent
    total = args.seconds

    def save():
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "average": average, "step": step,
                 "spent": earlier + time.monotonic() - args.started, "generator": generator.get_state(), "host": data.host.get_state()}
        torch.save(state, checkpoint.with_suffix(".tmp"))
        checkpoint.with_suffix(".tmp").replace(checkpoint)

    def report(final=False):
        average_net.load_state_dict({k: v.half().float() for k, v in average.items()})
        before, after, least = evaluate(average_net, test, 25, device)
        say(f"step {step}: held-out sigma 25: noisy {before:.2f} dB, denoised {after:.2f} dB, least gain {least:.2f} dB")
        metadata = {"format": "pt", "model": "frieze denoiser", "seed": str(args.seed), "steps": str(step)}
        export(average_net, out / "denoiser.safetensors", metadata)
        if final:
            scores = {s: evaluate(average_net, test, s, device) for s in (5, 15, 25, 35, 50)}
            for s, (before, after, least) in scores.items():
                say(f"held-out sigma {s}: noisy {before:.2f} dB, denoised {after:.2f} dB, least gain {least:.2f} dB")
            (out / "scores.json").write_text(json.dumps({"steps": step, "parameters": parameters, "scores": scores}, indent=1))

    losses = torch.zeros((), device=device)
    last_save = last_report = time.monotonic()
    say(f"trains {way}, batch {args.batch} of {args.side}x{args.side}")
    while True:
        done = (earlier + time.monotonic() - args.started) / total
        if done >= 1 or (args.steps and step >= args.steps):
            break
        lr = args.lr * min(1.0, (step + 1) / 300) * (0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = lr
        x, clean = data.batch(args.batch, args.side, generator, args.max_sigma)
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
            y = run(x.to(memory_format=layout))
        # The root of the mean square error of each crop: between a mean square, where strong noise decides alone, and PSNR.
        loss = ((y.float() - clean).square().mean((1, 2, 3)) + 1e-6).sqrt().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        step += 1
        decay = min(args.average, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.values()), [weights[k].detach() for k in average], 1 - decay)
        losses += loss.detach()
        if step % 200 == 0 or (not on_gpu and step % 5 == 0):
            count = 200 if on_gpu else 5
            say(f"step {step}: loss {losses.item() / count:.5f}, lr {lr:.2e}")  # .item() also keeps the host from running ahead
            losses.zero_()
            if time.monotonic() - last_save > args.save_every:
                save()
                last_save = time.monotonic()
            if time.monotonic() - last_report > args.report_every:
                report()
                last_report = time.monotonic()
    save()
    report(final=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    t = commands.add_parser("train", help="train, or go on training")
    t.add_argument("--data", type=pathlib.Path, required=True, help="folder with train.tar and held_out.tar")
    t.add_argument("--out", type=pathlib.Path, required=True, help="folder for weights, checkpoint, log")
    t.add_argument("--seconds", type=float, default=450, help="of training in all; the learning rate falls to zero over it")
    t.add_argument("--steps", type=int, default=0, help="stop after so many steps (0: by time alone)")
    t.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    t.add_argument("--batch", type=int, default=64)
    t.add_argument("--side", type=int, default=128, help="of the square crops, a multiple of 16")
    t.add_argument("--lr", type=float, default=1.5e-3)
    t.add_argument("--max-sigma", type=float, default=55, help="strongest noise, of 255")
    t.add_argument("--average", type=float, default=0.999, help="decay of the exponential average of the weights")
    t.add_argument("--seed", type=int, default=1)
    t.add_argument("--way", default="auto", choices=["auto", "eager-nchw", "eager-nhwc", "compiled-nchw", "compiled-nhwc"],
                   help="how to run the network; auto times them all, which takes a minute")
    t.add_argument("--save-every", type=float, default=60)
    t.add_argument("--report-every", type=float, default=60)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
